"""Reading, resizing and writing pictures: the only place that knows file formats and Pillow.

A picture is uint8 (H, W, 3), RGB; the engine's tensors are float32 (1, 3, H, W), RGB, 0..255.
Nothing here changes global state, so several threads may read and write at once.
"""

from ortist.engine.images.comment import read_comment as read_comment
from ortist.engine.images.encoding import PLAIN as PLAIN
from ortist.engine.images.encoding import Encoding as Encoding
from ortist.engine.images.formats import OUTPUT_EXTENSIONS as OUTPUT_EXTENSIONS
from ortist.engine.images.formats import check_extension as check_extension
from ortist.engine.images.formats import check_holds as check_holds
from ortist.engine.images.output import check_output as check_output
from ortist.engine.images.output import check_writable as check_writable
from ortist.engine.images.output import written_whole as written_whole
from ortist.engine.images.read import read_alpha as read_alpha
from ortist.engine.images.read import read_image as read_image
from ortist.engine.images.read import read_with_alpha as read_with_alpha
from ortist.engine.images.size import MAX_PIXELS as MAX_PIXELS
from ortist.engine.images.size import MIN_SIDE as MIN_SIDE
from ortist.engine.images.size import check_size as check_size
from ortist.engine.images.size import fit_area as fit_area
from ortist.engine.images.size import fit_size as fit_size
from ortist.engine.images.source import ImageSource as ImageSource
from ortist.engine.images.tensors import LUMA as LUMA
from ortist.engine.images.tensors import resize_image as resize_image
from ortist.engine.images.tensors import resize_tensor as resize_tensor
from ortist.engine.images.tensors import to_image as to_image
from ortist.engine.images.tensors import to_tensor as to_tensor
from ortist.engine.images.write import write_image as write_image
