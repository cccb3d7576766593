"""What frozen encoders see in videos without labels: rank, order, speed, robustness, agreement, cost, and advice."""

from vitascope.evaluation.checkup.advice import advise, recommended
from vitascope.evaluation.checkup.report import Checkup, EncoderCheckup
from vitascope.evaluation.checkup.run import checkup

__all__ = ["Checkup", "EncoderCheckup", "advise", "checkup", "recommended"]
