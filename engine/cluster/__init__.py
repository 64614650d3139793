"""Tiles, and pictures, on the workers of Dask, on this machine or others.

``distributed`` is imported when it is used.
"""

from ortist.engine.cluster.connection import LOCAL as LOCAL
from ortist.engine.cluster.connection import RESOURCE as RESOURCE
from ortist.engine.cluster.connection import TILE as TILE
from ortist.engine.cluster.connection import Cluster as Cluster
from ortist.engine.cluster.connection import Post as Post
from ortist.engine.cluster.connection import Where as Where
