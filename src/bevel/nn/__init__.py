"""Activation modules. ``bevel.ACTIVATIONS`` has them all by name; a new one is a new file in this folder."""

from bevel._entry import ACTIVATIONS
from bevel.nn._act_and_mul import ActAndMul
from bevel.nn._base import Activation, Entry, FormulaActivation, LearnableModule
from bevel.nn._maxout import Maxout
from bevel.nn.apl import APL
from bevel.nn.erelu import EReLU
from bevel.nn.erfact import ErfAct, Pserf
from bevel.nn.frelu import FReLU
from bevel.nn.gate import Gate
from bevel.nn.leaky_relu_squared import LeakyReLUSquared
from bevel.nn.mollified import Mollified
from bevel.nn.mpelu import MPELU
from bevel.nn.pau import PAU
from bevel.nn.pelu import PELU
from bevel.nn.prenu import PReNU
from bevel.nn.relu_squared import ReLUSquared
from bevel.nn.sau import SAU
from bevel.nn.smooth_frelu import SmoothFReLU
from bevel.nn.smu import SMU, SMU1
from bevel.nn.softplus_gated import EIS2, TanhSoft1
from bevel.nn.squareplus import SmeLU, Squareplus
from bevel.nn.srelu import SReLU
from bevel.nn.star_relu import StarReLU
from bevel.nn.swish import ACONC, Swish
from bevel.nn.xielu import XIELU
from bevel.nn.xiprelu import XIPReLU

__all__ = [
    "ACONC",
    "ACTIVATIONS",
    "APL",
    "EIS2",
    "MPELU",
    "PAU",
    "PELU",
    "SAU",
    "SMU",
    "SMU1",
    "XIELU",
    "ActAndMul",
    "Activation",
    "EReLU",
    "Entry",
    "ErfAct",
    "FReLU",
    "FormulaActivation",
    "Gate",
    "LeakyReLUSquared",
    "LearnableModule",
    "Maxout",
    "Mollified",
    "PReNU",
    "Pserf",
    "ReLUSquared",
    "SReLU",
    "SmeLU",
    "SmoothFReLU",
    "Squareplus",
    "StarReLU",
    "Swish",
    "TanhSoft1",
    "XIPReLU",
]
