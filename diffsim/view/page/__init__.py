"""A run as one page: self-contained HTML that opens from a file, drawn from recorded data."""

from diffsim.view.page.compare import comparison_page
from diffsim.view.page.live import index_page, live_page, packed_live, sparkline
from diffsim.view.page.motions import Motion, packed_stage, packed_stages
from diffsim.view.page.parameters import Parameter
from diffsim.view.page.report import Course, Health, Report, report_page

__all__ = [
    "Course",
    "Health",
    "Motion",
    "Parameter",
    "Report",
    "comparison_page",
    "index_page",
    "live_page",
    "packed_live",
    "packed_stage",
    "packed_stages",
    "report_page",
    "sparkline",
]
