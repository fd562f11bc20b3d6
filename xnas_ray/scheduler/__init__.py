"""The pure core of the service: which search runs, which trial goes where, what happens when something dies."""

from xnas_ray.scheduler.config import SchedulerConfig
from xnas_ray.scheduler.scheduler import Scheduler
from xnas_ray.scheduler.views import SearchView, WorkerView

__all__ = ["Scheduler", "SchedulerConfig", "SearchView", "WorkerView"]
