import { Fourier } from "../../web/fourier.js";

export function forward({ data, dims: [height, width] }) {
  const fourier = new Fourier(height, width);
  const dims = [height, fourier.columns];
  const [re, im] = [0, 1].map(() => new Float32Array(height * fourier.columns));
  fourier.forward(data, re, im);
  return [{ data: re, dims }, { data: im, dims }];
}

export function inverse(re, im, width) {
  const [height] = re.dims;
  const plane = new Float32Array(height * width);
  new Fourier(height, width).inverse(re.data, im.data, plane);
  return { data: plane, dims: [height, width] };
}
