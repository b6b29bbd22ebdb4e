"""Tasks: a simulator with something to learn; how they are found by name, and the runs that train them."""

from diffsim.tasks.task import Options, Recording, Task, option

__all__ = ["Options", "Recording", "Task", "option"]
