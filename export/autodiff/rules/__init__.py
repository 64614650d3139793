"""The vector-Jacobian rules, one short entry per operator.

For a node y = f(x_0, x_1, ...) and the cotangent g = dJ/dy, rule i returns the contribution
g·(dy/dx_i) to dJ/dx_i. Rules emit standard operators, and what lowering is to know by its name as
one of :mod:`ortist.export.operators`.
"""

from ortist.export.autodiff.backward import Rules
from ortist.export.autodiff.branches import choose
from ortist.export.autodiff.rules import (
    convolutions,
    elementwise,
    moves,
    pooling,
    products,
    reductions,
    sampling,
)

RULES: Rules = {
    **{op_type: elementwise.unary(formula) for op_type, formula in elementwise.UNARY.items()},
    **{op_type: elementwise.binary(formulas) for op_type, formulas in elementwise.BINARY.items()},
    "AveragePool": (pooling.average_pool,),
    "Cast": (elementwise.cast,),
    "CastLike": (elementwise.cast, elementwise.nothing),
    "Ceil": (elementwise.nothing,),
    "Clip": (elementwise.clip, None),
    "Col2Im": (pooling.col2im, None),
    "Compress": (moves.picked, None),
    "Concat": (moves.concat,),
    "Conv": (convolutions.conv_input, convolutions.conv_weight, convolutions.conv_bias),
    "ConvTranspose": (
        convolutions.conv_transpose_input,
        convolutions.conv_transpose_weight,
        convolutions.conv_bias,
    ),
    "CumProd": (reductions.cumulative_product, None),
    "CumSum": (reductions.cumulative_sum, None),
    "DepthToSpace": (moves.depth_to_space,),
    "Dropout": (moves.dropout, None),
    "Einsum": (products.einsum,),
    "Expand": (moves.expand, None),
    "Flatten": (moves.reshape,),
    "Floor": (elementwise.nothing,),
    "Gather": (moves.gather, None),
    "GatherElements": (moves.picked, None),
    "GatherND": (moves.picked, None),
    "Gemm": (products.gemm_left, products.gemm_right, products.gemm_bias),
    "GlobalAveragePool": (reductions.reduce_mean,),
    "GlobalLpPool": (pooling.global_lp_pool,),
    "GlobalMaxPool": (pooling.global_max_pool,),
    "Identity": (elementwise.identity,),
    "If": (choose,),
    "LRN": (pooling.local_response,),
    "LpPool": (pooling.lp_pool,),
    "MatMul": (products.matmul,),
    "Max": (elementwise.extreme,),
    "MaxPool": (pooling.max_pool,),
    "MaxUnpool": (pooling.max_unpool, None),
    "Mean": (elementwise.mean,),
    "Min": (elementwise.extreme,),
    "Mul": (elementwise.multiply,),
    "OneHot": (None, None, moves.one_hot),
    "Pad": (moves.pad, None, moves.pad_value, None),
    "Pow": (elementwise.base, elementwise.exponent),
    "Range": (reductions.range_start, elementwise.nothing, reductions.range_step),
    "ReduceL1": (reductions.reduce_l1, None),
    "ReduceL2": (reductions.reduce_l2, None),
    "ReduceMean": (reductions.reduce_mean, None),
    "ReduceSum": (reductions.reduce_sum, None),
    "ReduceSumSquare": (reductions.reduce_sum_square, None),
    "Relu": (elementwise.relu,),
    "Reshape": (moves.reshape, None),
    "Resize": (sampling.resize, None),
    "ReverseSequence": (moves.reversed_sequence, None),
    "Round": (elementwise.nothing,),
    "ScatterElements": (moves.scattered_into, None, moves.updates),
    "ScatterND": (moves.scattered_into, None, moves.updates),
    "Sign": (elementwise.nothing,),
    "Slice": (moves.cut, None),
    "SpaceToDepth": (moves.space_to_depth,),
    "Split": (moves.split, None),
    "Squeeze": (moves.reshape, None),
    "Sum": (elementwise.summand,),
    "SumSquares": (reductions.sum_squares,),
    "Tile": (moves.tile, None),
    "TopK": (moves.largest, None),
    "Transpose": (moves.transpose,),
    "Trilu": (moves.triangle, None),
    "Unsqueeze": (moves.reshape, None),
    "Weighted": (elementwise.weighted, None),
    "Where": (None, elementwise.choice),
}
"""Operator to the rules of its inputs; the last one serves all further inputs.

None marks an input without derivative, such as a shape or axes.
"""
