"""Taichi's own reverse mode, held against ours and against differences."""

from diffsim.rollout.audit.audit import audit
from diffsim.rollout.audit.report import AuditReport, KernelAudit

__all__ = ["AuditReport", "KernelAudit", "audit"]
