"""A simulated WhatsApp for tests and for `farebox sandbox`.

It imports nothing from the rest of farebox and decides free or paid by rules of its own, so that it can
disagree with it.
"""

from .behaviour import Behaviour
from .config import Number, SimulatorConfig
from .inbound import Inbound
from .state import Accepted
from .whatsapp import SimulatedWhatsApp

__all__ = ["Accepted", "Behaviour", "Inbound", "Number", "SimulatedWhatsApp", "SimulatorConfig"]
