// A tokenizer of characters with three control tokens, for tests that need no model.
import type { NativeTokenizer } from "../../src/support/native.js";

const controls = ["<s>", "<|im_start|>", "<|im_end|>"];

/** spaceBefore: puts a space before text that stands alone, as SentencePiece does. */
export function fakeTokenizer(options: { addsBos?: boolean; spaceBefore?: boolean } = {}): NativeTokenizer {
  return {
    vocabulary: 70_000,
    bos: 0,
    eos: 2,
    endTokens: Int32Array.of(2),
    addsBos: options.addsBos ?? false,
    tokenize(text, addSpecial, parseSpecial) {
      const tokens: number[] = addSpecial && options.addsBos ? [0] : [];
      let rest = options.spaceBefore && text !== "" ? ` ${text}` : text;
      while (rest !== "") {
        const control = parseSpecial ? controls.findIndex((one) => rest.startsWith(one)) : -1;
        tokens.push(control === -1 ? rest.charCodeAt(0) + 3 : control);
        rest = rest.slice(control === -1 ? 1 : controls[control]!.length);
      }
      return Int32Array.from(tokens);
    },
    detokenize(tokens, special) {
      return [...tokens]
        .map((token) => (token > 2 ? String.fromCharCode(token - 3) : special ? controls[token] : ""))
        .join("");
    },
    close: () => Promise.resolve(),
  };
}
