"""Every built-in objective passes the suite that plug-ins inherit."""

from dataclasses import replace

from xnas_ray.objectives.accuracy import ValidationAccuracy, ValidationError
from xnas_ray.objectives.cost import Flops, Params, TabledLatency
from xnas_ray.objectives.latency import Latency
from xnas_ray.objectives.regression import ValidationMSE, ValidationR2
from xnas_ray.testing.objective_case import ObjectiveTestCase
from xnas_ray.testing.tiny import tiny_trained


class TestValidationAccuracy(ObjectiveTestCase):
    make_objective = staticmethod(ValidationAccuracy)


class TestValidationError(ObjectiveTestCase):
    make_objective = staticmethod(ValidationError)


class TestValidationMSE(ObjectiveTestCase):
    make_objective = staticmethod(ValidationMSE)


class TestValidationR2(ObjectiveTestCase):
    make_objective = staticmethod(ValidationR2)


class TestFlops(ObjectiveTestCase):
    make_objective = staticmethod(Flops)


class TestParams(ObjectiveTestCase):
    make_objective = staticmethod(Params)


class TestLatency(ObjectiveTestCase):
    deterministic = False

    def make_objective(self):
        return Latency(repeats=3, warmup=1)


class TestTabledLatency(ObjectiveTestCase):
    def make_objective(self):
        return TabledLatency(table="data/phone.json")

    def make_trained(self, kind):
        trained = tiny_trained(kind)
        trained.cost = replace(trained.cost, latency_table_ms=1.5)  # as a TimedSpace gives it
        return trained
