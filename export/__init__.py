"""Build-time side: weights, feature graphs, costs and differentiation of ONNX graphs."""
