"""Neural style transfer on ONNX Runtime: ``Engine().stylize(content, style)``."""

from ortist.engine.artifacts import Artifacts as Artifacts
from ortist.engine.engine import Engine as Engine
from ortist.engine.errors import ArtifactError as ArtifactError
from ortist.engine.errors import CanceledError as CanceledError
from ortist.engine.errors import DeviceError as DeviceError
from ortist.engine.errors import InputError as InputError
from ortist.engine.errors import NonFiniteCostError as NonFiniteCostError
from ortist.engine.errors import OrtistError as OrtistError
from ortist.engine.images import Encoding as Encoding
from ortist.engine.images import ImageSource as ImageSource
from ortist.engine.options import Options as Options
from ortist.engine.pictures import Region as Region
from ortist.engine.plan import Plan as Plan
from ortist.engine.recipes import find_recipe as find_recipe
from ortist.engine.record import Record as Record
from ortist.engine.results import Costs as Costs
from ortist.engine.results import Result as Result
from ortist.engine.results import Step as Step
from ortist.engine.run import Run as Run
from ortist.models.layers import LAYERS as LAYERS
