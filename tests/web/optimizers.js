import { Adam } from "../../web/adam.js";
import { LBFGS } from "../../web/lbfgs.js";
import { Preconditioner } from "../../web/preconditioner.js";

let optimizer;

const state = () => {
  const { point, picture, accepted, done } = optimizer;
  return { point, picture, accepted, done };
};

export function lbfgs(start, constants) {
  optimizer = new LBFGS(start, constants);
  return state();
}

export function adam(start, rate, averaging, constants) {
  optimizer = new Adam(start, rate, averaging, constants);
  return state();
}

export function step({ data: [value] }, { data }) {
  const kept = [optimizer.point.data, optimizer.picture.data];
  const before = kept.map((array) => array.slice());
  const goesOn = optimizer.step(value, data);
  const same = (array, other) => array.every((number, at) => Object.is(number, other[at]));
  const written = !kept.every((array, at) => same(array, before[at]));
  return { ...state(), goesOn, written };
}

export function resize(width, height) {
  optimizer.resize(width, height);
  return state();
}

export function filtered({ data, dims }, known) {
  const preconditioner = new Preconditioner(dims[2], dims[3], known);
  const square = preconditioner.square(data);
  preconditioner.apply(data);
  return [{ data, dims }, square];
}
