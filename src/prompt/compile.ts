// A task's prompt for one model: instruction, examples and the row, plain or as a chat. Knows no tokens.
import { type Row, type Turn, usedFields } from "../dataset/index.js";
import { StillroomError } from "../support/errors.js";
import type { Task } from "../task/index.js";
import { ChatTemplate } from "./chat.js";
import { OutOfTime } from "./limits.js";
import { Renderer } from "./render.js";
import type { CompiledPrompt, Examples, Piece, PromptModel } from "./types.js";
import { UnsuitableRow } from "./unsuitable.js";

/**
 * Checks a task's prompt against a model, once, for any number of rows.
 *
 * @throws StillroomError "input" for a chat without a chat template, or with one that cannot be rendered within its limits
 * @example
 * ```ts
 * const prompt = compilePrompt(task, model.template);
 * const { pieces, answer } = prompt.render(row, examples);
 * ```
 */
export function compilePrompt(task: Task, model: PromptModel): CompiledPrompt {
  return task.prompt.chat ? compileChat(task, new ChatTemplate(model)) : compilePlain(task);
}

function compilePlain(task: Task): CompiledPrompt {
  const { instruction, template, separator } = task.prompt;
  const renderer = new Renderer(template, `the template of the task ${task.name}`);
  const lay = (row: Row) => {
    const text = renderRow(renderer, row);
    return renderer.endsInSpace ? text : text.trimEnd();
  };
  const renderAnswer = (text: string) => (renderer.endsInSpace ? "" : " ") + text.trim();
  const shot = once((example) => lay(example) + renderAnswer(example.answer) + separator);
  const front = instruction === undefined || instruction === "" ? "" : instruction + separator;
  return {
    renderAnswer,
    render: (row, examples) => {
      const shots = others(row, examples).map(shot);
      return {
        pieces: [{ text: front + shots.join("") + lay(row), control: false }],
        answer: renderAnswer(row.answer),
      };
    },
  };
}

function compileChat(task: Task, chat: ChatTemplate): CompiledPrompt {
  const { instruction, template, separator } = task.prompt;
  const renderer = template === "" ? null : new Renderer(template, `the template of the task ${task.name}`);
  const lay = (row: Row): Turn[] => {
    if (renderer !== null) return [{ role: "user", content: renderRow(renderer, row) }];
    if (Array.isArray(row.fields.messages)) return row.fields.messages as Turn[];
    throw at(row, "has no messages, and the task has no template");
  };
  const answered = once((row): Turn[] => [
    ...parted(lay(row)).others,
    { role: "assistant", content: row.answer.trim() },
  ]);
  const renderAnswer = (text: string) => chat.beforeAnswer.answer + text.trim();
  return {
    renderAnswer,
    render: (row, examples) => {
      const own = parted(lay(row));
      const system = [instruction ?? "", ...own.system].filter((text) => text !== "");
      const turns = [...others(row, examples).flatMap(answered), ...own.others];
      const all = withSystem(turns, system.join(separator), separator, chat.takesSystem);
      try {
        return { pieces: chat.render(all), answer: renderAnswer(row.answer) };
      } catch (error) {
        throw at(row, (error as Error).message, error);
      }
    },
  };
}

/**
 * What is asked by a row alone, as its task's template lays it out, without instruction, examples and the model's frame; of a task without a template, its
 * turns. Throws where the values do not suit the template.
 */
function compileQuestion(task: Task): (row: Row) => string {
  if (task.prompt.template === "") return (row) => questionOf(row.fields.messages as Turn[]);
  const renderer = new Renderer(task.prompt.template, `the template of the task ${task.name}`);
  return (row) => renderRow(renderer, row).trim();
}

/** The text that a row is about: the one field of the template as it is, else the template as it lays the row out. */
export function compileSubject(task: Task): (row: Row) => string {
  const fields = usedFields(task).all;
  const [only] = fields;
  if (fields.length === 1 && only !== "messages") return (row) => String(row.fields[only!]);
  return compileQuestion(task);
}

/** What is asked by a conversation: the text of its one turn, or all turns as JSON. */
export function questionOf(turns: readonly Turn[]): string {
  const [first] = turns;
  if (turns.length === 1 && first?.role === "user") return first.content;
  return JSON.stringify(turns.map(({ role, content }) => ({ role, content })));
}

/** Conversations as one model is shown them. Throws "input" for a model without a chat template, and for turns that do not suit it. */
export function compileConversation(model: PromptModel): (turns: readonly Turn[]) => Piece[] {
  const chat = new ChatTemplate(model);
  return (turns) => {
    const { system, others } = parted(turns);
    return chat.render(withSystem(others, system.join("\n\n"), "\n\n", chat.takesSystem));
  };
}

/** The texts of a conversation's system turns, and its other turns. */
function parted(turns: readonly Turn[]): { system: string[]; others: Turn[] } {
  const system = turns.filter(({ role }) => role === "system").map(({ content }) => content);
  return { system, others: turns.filter(({ role }) => role !== "system") };
}

/** The instruction as the system turn, or at the head of the first turn where the template has none. */
function withSystem(turns: Turn[], system: string, separator: string, takesSystem: boolean): Turn[] {
  if (system === "") return turns;
  if (takesSystem) return [{ role: "system", content: system }, ...turns];
  const [first, ...rest] = turns;
  return first === undefined ? turns : [{ ...first, content: system + separator + first.content }, ...rest];
}

function renderRow(renderer: Renderer, row: Row): string {
  try {
    return renderer.render(row.fields);
  } catch (error) {
    throw at(row, (error as Error).message, error);
  }
}

/** The error of a row: its own fault, but where time ran out. */
function at(row: Row, message: string, cause?: unknown): StillroomError {
  if (cause instanceof OutOfTime) return new StillroomError("input", `${row.file}:${row.line}: ${message}`, { cause });
  return new UnsuitableRow(row, message, cause);
}

/** The examples of a row, without the row itself. */
function others(row: Row, examples: Examples): Row[] {
  const chosen = typeof examples === "function" ? examples(row) : examples;
  return chosen.filter((example) => example !== row && (example.line !== row.line || example.file !== row.file));
}

/** Examples stand before row after row: each is laid out once. */
function once<T>(lay: (row: Row) => T): (row: Row) => T {
  const known = new WeakMap<Row, T>();
  return (row) => {
    const kept = known.get(row);
    if (kept !== undefined) return kept;
    const made = lay(row);
    known.set(row, made);
    return made;
  };
}
