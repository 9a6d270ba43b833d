// Conversations through a model's own chat template. The template never sees the text of a turn: it lays out marks that cannot
// be guessed, and the text is put in their place afterwards. So no text can steer the template or pass for a part of it.
import { randomBytes } from "node:crypto";
import type { Turn } from "../dataset/index.js";
import { StillroomError } from "../support/errors.js";
import { Renderer } from "./render.js";
import type { Piece, PromptModel } from "./types.js";

const what = "the chat template of the model";

/** A chat template, tried out once. */
export class ChatTemplate {
  readonly #renderer: Renderer;
  /** Digits alone come through filters for upper and lower case, and through JSON. */
  readonly #mark = BigInt(`0x${randomBytes(16).toString("hex")}`)
    .toString()
    .padStart(39, "0");
  readonly #values: Record<string, unknown>;
  /** Whether it has a place for a system turn. */
  readonly takesSystem: boolean;
  /** What stands between the prompt and an answer: for the prompt (a frame for reasoning), and for the answer (a space). */
  readonly beforeAnswer: { prompt: string; answer: string };

  constructor(model: PromptModel) {
    if (model.chatTemplate === null) {
      throw new StillroomError(
        "input",
        "a chat needs the model's chat template, and the model has none; leave prompt.chat of the task out, or ask for /v1/completions",
      );
    }
    this.#renderer = new Renderer(model.chatTemplate, what);
    this.#values = { bos_token: model.bosToken ?? "", eos_token: model.eosToken ?? "", enable_thinking: false };
    const question: Turn = { role: "user", content: "question" };
    const asked = this.#marked([question], true);
    this.takesSystem = this.#lays([{ role: "system", content: "instruction" }, question]);
    this.beforeAnswer = this.#between(asked, question);
  }

  /** The pieces of a conversation that ends where the model's answer begins. */
  render(turns: readonly Turn[]): Piece[] {
    const pieces: Piece[] = [];
    const put = (text: string, control: boolean) => {
      if (text !== "") pieces.push({ text, control });
    };
    // Every second part is the number of a turn.
    for (const [index, part] of this.#marked(turns, true).split(this.#pattern()).entries()) {
      if (index % 2 === 0) put(part, true);
      else put(turns[Number(part)]!.content.trim(), false);
    }
    put(this.beforeAnswer.prompt, true);
    return pieces;
  }

  /** The layout with marks in place of the texts; white space around a text stays, for the template to trim. */
  #marked(turns: readonly Turn[], generation: boolean): string {
    const messages = turns.map(({ role, content }, index) => {
      const text = content.trim();
      return { role, content: text === "" ? content : content.replace(text, () => this.#markOf(index)) };
    });
    const text = this.#renderer.render({ ...this.#values, messages, add_generation_prompt: generation });
    for (const [index, turn] of turns.entries()) {
      if (turn.content.trim() === "" || text.includes(this.#markOf(index))) continue;
      throw new StillroomError("input", `${what} leaves out the ${turn.role} turn ${index + 1} of ${turns.length}`);
    }
    return text;
  }

  #markOf(index: number): string {
    return `${this.#mark}${String(index).padStart(6, "0")}`;
  }

  #pattern(): RegExp {
    return new RegExp(`${this.#mark}(\\d{6})`);
  }

  #lays(turns: readonly Turn[]): boolean {
    try {
      this.#marked(turns, true);
      return true;
    } catch {
      return false;
    }
  }

  #between(asked: string, question: Turn): { prompt: string; answer: string } {
    const answer: Turn = { role: "assistant", content: "answer" };
    if (!this.#lays([question, answer])) return { prompt: "", answer: "" };
    const answered = this.#marked([question, answer], false);
    if (!answered.startsWith(asked)) return { prompt: "", answer: "" };
    const between = answered.slice(asked.length, answered.indexOf(this.#markOf(1)));
    const spaces = / *$/.exec(between)![0];
    return { prompt: between.slice(0, between.length - spaces.length), answer: spaces };
  }
}
