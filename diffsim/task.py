"""The public name of what a task is made of; it lives in `diffsim.tasks`."""

from diffsim.tasks import Options, Recording, Task, option

__all__ = ["Options", "Recording", "Task", "option"]
