// The one suite of decoders, for all that computes their steps: what an answer depends on, memory, sharing, stop texts, grammars,
// log-probabilities, cancelling and closing.
import { describe, expect, it } from "vitest";
import type { NativeDecoder, NativeDecoderOptions } from "../../src/support/native.js";
import { bytes, decodeAll, expectSame, requestOf, runToEnd, using } from "./decoding.js";

/** Opens a decoder of the text toy (text_toy.ts), with decoderLimits unless others are given. */
export type OpenToyDecoder = (options?: Partial<NativeDecoderOptions>) => Promise<NativeDecoder>;

export const decoderLimits = { memory: 2 ** 24, sequences: 16, stepTokens: 64 };

const beginning = bytes(100, 1);
const kinds = (seed: number) =>
  seed % 3 === 0
    ? {}
    : seed % 3 === 1
      ? { temperature: 1, topK: 20, seed }
      : { temperature: 0.7, topP: 0.9, minP: 0.02, seed };
const requests = Array.from({ length: 12 }, (_, seed) =>
  requestOf([...(seed % 2 ? beginning : []), ...bytes(3 + seed * 4, seed)], {
    maxTokens: 4 + seed,
    logProbabilities: 2,
    ...kinds(seed),
  }),
);

/**
 * within: how far an answer's log-probabilities may differ between two batches; 0: they are the same bits. leaving: how many
 * requests of a test may be answered otherwise in another batch, where the rounding decides (expectSame).
 */
export function decoderSuite(
  name: string,
  open: OpenToyDecoder,
  { within, leaving }: { within: number; leaving: number },
): void {
  describe(name, () => {
    it("gives each request what it gets alone, whatever runs beside it", async () => {
      const alone = [];
      for (const request of requests) alone.push(...(await using(open(), (decoder) => decodeAll(decoder, [request]))));
      expect(new Set(alone.map(({ text }) => text)).size).toBeGreaterThan(8);
      const left = new Set<number>();
      const shuffled = [...requests.keys()].sort((a, b) => ((a * 7) % 12) - ((b * 7) % 12));
      for (const [order, options] of [
        [[...requests.keys()], {}],
        [shuffled, {}],
        [shuffled, { sequences: 3, stepTokens: 9 }],
      ] as const) {
        const together = await using(open(options), (decoder) =>
          decodeAll(
            decoder,
            order.map((at) => requests[at]!),
          ),
        );
        for (const [index, at] of order.entries())
          if (expectSame(together[index]!, alone[at]!, within, requests[at]!.temperature)) left.add(at);
      }
      expect(left.size).toBeLessThanOrEqual(leaving);
    });

    it("computes a shared beginning once, also while it is being computed", async () => {
      await using(open({ stepTokens: 40 }), async (decoder) => {
        for (let i = 0; i < 4; i++) decoder.add(requestOf([...beginning, ...bytes(3, 50 + i)], { maxTokens: 6 }));
        let prompts = 0;
        const answers = await runToEnd(decoder, (step) => {
          prompts += step.promptTokens;
        });
        expect([...answers.values()].map(({ sharedTokens }) => sharedTokens).sort((a, b) => a - b)).toEqual([
          0, 96, 96, 96,
        ]);
        expect(prompts).toBe(103 + 3 * 7);
      });
    });

    it("lets requests wait for memory, and refuses with numbers what can never fit", async () => {
      // 2 layers, 2 heads of 8, keys and values, 32 positions: 8192 bytes a page in f32.
      await using(open({ memory: 4 * 8192 }), async (decoder) => {
        for (let i = 0; i < 5; i++) decoder.add(requestOf(bytes(40, i), { maxTokens: 20 }));
        let most = 0;
        const answers = await runToEnd(decoder, ({ running }) => {
          most = Math.max(most, running);
        });
        expect(answers.size).toBe(5);
        expect(most).toBe(2);
        expect(decoder.refuses(100, 29)).toBeNull();
        expect(decoder.refuses(100, 30)).toBe("their keys and values take 40960 bytes, memory is 32768");
        expect(() => decoder.add(requestOf(bytes(100, 1), { maxTokens: 30 }))).toThrow(
          /100 tokens with an answer of up to 30 does not fit/,
        );
        expect(decoder.refuses(250, 8)).toBe("257 tokens are more than the model's context of 256");
      });
    });

    it("ends at a stop text that several tokens spell", async () => {
      await using(open(), async (decoder) => {
        const free = requestOf(bytes(20, 3), { maxTokens: 60, temperature: 1, seed: 5 });
        const [whole] = await decodeAll(decoder, [free]);
        const stops = [...whole!.text.matchAll(/(?=([ -~]{2}))/g)].map(([, two]) => two!);
        expect(stops.length).toBeGreaterThan(2);
        for (const stop of stops) {
          const [cut] = await decodeAll(decoder, [{ ...free, stop: ["never", stop] }]);
          expect(cut).toMatchObject({ ended: "stop", text: whole!.text.slice(0, whole!.text.indexOf(stop)) });
          expect([...cut!.tokens]).toEqual([...whole!.tokens.slice(0, cut!.tokens.length)]);
        }
      });
    });

    it("keeps to a grammar", async () => {
      await using(open(), async (decoder) => {
        const grammar = 'root ::= "{" [a-z]{2,4} (", " [0-9]+)? "}"';
        const answers = await decodeAll(
          decoder,
          [0, 1, 2, 3, 4, 5].map((seed) =>
            requestOf(bytes(9, seed), { maxTokens: 80, grammar, temperature: seed % 2 ? 1 : 0, seed }),
          ),
        );
        for (const { text, ended } of answers) {
          if (ended === "end") expect(text).toMatch(/^\{[a-z]{2,4}(, [0-9]+)?\}$/);
          else expect(text).toMatch(/^\{[a-z]{2,4}, [0-9]+$/);
        }
        expect(answers.some(({ ended }) => ended === "end")).toBe(true);
        expect(() => decoder.add(requestOf([1], { grammar: "branch ::= [a]" }))).toThrow(
          /GBNF grammar with a rule root for grammar/,
        );
      });
    });

    it("gives log-probabilities of the chosen and the most likely tokens", async () => {
      await using(open(), async (decoder) => {
        const [answer] = await decodeAll(decoder, [requestOf(bytes(12, 4), { maxTokens: 5, logProbabilities: 258 })]);
        const { tokens, values } = answer!.logProbabilities;
        expect(tokens.length).toBe(answer!.tokens.length * 259);
        for (const [i, token] of answer!.tokens.entries()) {
          const row = values.subarray(i * 259, (i + 1) * 259);
          expect(tokens[i * 259]).toBe(token);
          expect(tokens[i * 259 + 1]).toBe(token); // greedy: the most likely one
          expect(row.slice(1).every((value, at, all) => at === 0 || all[at - 1]! >= value)).toBe(true);
          expect(row.slice(1).reduce((sum, value) => sum + Math.exp(value), 0)).toBeCloseTo(1, 4);
        }
      });
    });

    it("cancels one request in any state, and its neighbours go on as they would", async () => {
      const shared = [0, 1, 2, 3, 4].map((seed) =>
        requestOf([...beginning, ...bytes(3, seed)], { maxTokens: 9, logProbabilities: 2 }),
      );
      const expected = await using(open(), (decoder) => decodeAll(decoder, shared));
      const left = new Set<number>();
      for (const gone of [0, 2, 4])
        for (const when of [0, 1, 3, 6]) {
          await using(open({ stepTokens: 40, sequences: 4 }), async (decoder) => {
            const ids = shared.map((request) => decoder.add(request));
            let steps = 0;
            if (when === 0) expect(decoder.cancel(ids[gone]!)).toBe(true);
            const answers = await runToEnd(decoder, () => {
              if (++steps === when) expect(decoder.cancel(ids[gone]!)).toBe(true);
            });
            for (const [at, id] of ids.entries()) {
              if (at === gone) expect(answers.get(id)!.ended).toBe("cancelled");
              else if (expectSame(answers.get(id)!, expected[at]!, within, 0)) left.add(at);
            }
            expect(decoder.cancel(ids[gone]!)).toBe(false);
            const [again] = await decodeAll(decoder, [shared[gone]!]);
            if (expectSame(again!, expected[gone]!, within, 0)) left.add(gone);
          });
        }
      expect(left.size).toBeLessThanOrEqual(leaving);
    });

    it("takes requests while a step runs, and close waits for it", async () => {
      const decoder = await open();
      decoder.add(requestOf(bytes(200, 1)));
      const first = decoder.step();
      const id = decoder.add(requestOf(bytes(5, 2), { maxTokens: 1 }));
      expect((await first).finished).toEqual([]);
      expect((await runToEnd(decoder)).get(id)!.ended).toMatch(/length|end/);
      decoder.add(requestOf(bytes(200, 3)));
      const order: string[] = [];
      const step = decoder.step().then(() => order.push("step"));
      const closes = [decoder.close(), decoder.close()].map((close) => close.then(() => order.push("close")));
      await expect(decoder.step()).rejects.toMatchObject({ code: "usage", message: "the decoder is closed" });
      expect(() => decoder.add(requestOf([1]))).toThrow("the decoder is closed");
      await Promise.all([step, ...closes]);
      expect(order).toEqual(["step", "close", "close"]);
    });

    it("names what is wrong with a request", async () => {
      await using(open(), async (decoder) => {
        for (const [change, message] of [
          [{ prompt: new Int32Array(0) }, "at least one token for prompt, received none"],
          [{ prompt: Int32Array.of(258) }, "tokens below 258 for prompt, received 258"],
          [{ maxTokens: 0 }, "for maxTokens, received 0"],
          [{ stop: [""] }, 'expected a text for stop, received ""'],
          [{ stop: "x" }, 'expected an array for stop, received "x"'],
          [{ temperature: Number.NaN }, "for temperature, received NaN"],
          [{ seed: -1 }, "for seed, received -1"],
          [{ topP: 0 }, "for topP"],
        ] as [object, string][])
          expect(() => decoder.add({ ...requestOf([1]), ...change })).toThrow(message);
        expect(await decoder.step()).toMatchObject({ finished: [], waiting: 0, running: 0 });
      });
    });
  });
}
