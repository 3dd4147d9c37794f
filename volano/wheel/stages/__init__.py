"""The product in one `ls`: feedback and data in, a judged bundle out."""

from volano.wheel._stage import Setting
from volano.wheel.stages._unlabelled import check_compress
from volano.wheel.stages.compress import CompressStage
from volano.wheel.stages.data import DataStage
from volano.wheel.stages.deploy import DeployStage
from volano.wheel.stages.evaluate import EvaluateStage
from volano.wheel.stages.feedback import FeedbackStage
from volano.wheel.stages.golden import FILE as GOLDEN_FILE
from volano.wheel.stages.golden import GoldenStage
from volano.wheel.stages.prepare import PrepareStage
from volano.wheel.stages.train import TrainStage, check_models

ALL = (
    FeedbackStage,
    DataStage,
    GoldenStage,
    PrepareStage,
    TrainStage,
    EvaluateStage,
    CompressStage,
    DeployStage,
)

__all__ = [
    "ALL",
    "GOLDEN_FILE",
    "CompressStage",
    "DataStage",
    "DeployStage",
    "EvaluateStage",
    "FeedbackStage",
    "GoldenStage",
    "PrepareStage",
    "TrainStage",
    "check_spec",
]


def check_spec(setting: Setting) -> None:
    """Refuse what train and compress would refuse after much work; raises as they do."""
    check_models(setting.spec)
    check_compress(setting)
