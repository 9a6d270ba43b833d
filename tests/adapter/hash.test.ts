// What an adapter is known by in a key: its values and its scale, and of a head what its outputs stand for.
import { expect, it } from "vitest";
import { type Head, hashLora } from "../../src/adapter/index.js";
import type { NativeLoraOptions } from "../../src/support/native.js";
import { FakeLora } from "../support/fake_engine.js";

const loraOf = (given: Partial<NativeLoraOptions> = {}) =>
  new FakeLora({ rank: 4, alpha: 8, dropout: 0, rsLora: false, targets: ["q"], seed: 7, ...given });
const head: Head = { task: "a", loss: "softmax", parameters: [], labels: ["yes", "no"], centre: 0, scale: 1 };

it("whatever changes what it does to an answer changes it, and nothing else", () => {
  const whole = hashLora(loraOf(), head);
  expect(hashLora(loraOf({ dropout: 0.5 }), { ...head })).toEqual(whole);
  const bit = loraOf();
  bit.b[3] = 1e-30;
  // The same values in tensors of other shapes, and read in another order.
  const [turned, backwards] = [loraOf(), loraOf()];
  const tensors = turned.tensors();
  turned.tensors = () => tensors.map((tensor) => ({ ...tensor, shape: [tensor.shape[1], tensor.shape[0]] }));
  backwards.tensors = () => tensors.toReversed();
  expect(hashLora(backwards, head)).toEqual(whole);
  for (const other of [
    hashLora(bit, head),
    hashLora(turned, head),
    hashLora(loraOf({ seed: 8 }), head),
    hashLora(loraOf()),
    hashLora(loraOf(), { ...head, labels: ["no", "yes"] }),
    hashLora(loraOf(), { ...head, scale: 2 }),
  ])
    expect(other.sha256).not.toBe(whole.sha256);
  expect(hashLora(loraOf({ alpha: 16 }), head).scale).toBe(2 * whole.scale);
  expect(hashLora(loraOf({ rsLora: true }), head).scale).toBe(4);
});
