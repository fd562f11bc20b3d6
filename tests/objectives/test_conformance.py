"""Every built-in objective passes the suite that plug-ins inherit."""

from xnas_ray.objectives.accuracy import ValidationAccuracy, ValidationError
from xnas_ray.objectives.cost import Flops, Params
from xnas_ray.objectives.latency import Latency
from xnas_ray.objectives.regression import ValidationMSE, ValidationR2
from xnas_ray.testing.objective_case import ObjectiveTestCase


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
