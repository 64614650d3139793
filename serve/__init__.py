"""A service that paints: :class:`Manager` keeps its jobs, and ``serve.app`` is its HTTP."""

from ortist.serve.limits import Limits as Limits
from ortist.serve.limits import read_limits as read_limits
from ortist.serve.manager import Manager as Manager
from ortist.serve.order import Order as Order
from ortist.serve.order import OrderedRegion as OrderedRegion
