// The shapes that fine-tuning data comes in: OpenAI messages, ShareGPT conversations, Alpaca. Each becomes turns and an answer.
import { emptyFields } from "./records.js";

/** One turn of a conversation. */
export interface Turn {
  role: "system" | "user" | "assistant" | "tool";
  content: string;
}

/** A recognised row: the turns before the last answer, and that answer. */
export interface Conversation {
  messages: Turn[];
  answer: string;
}

/** Columns that mark a conversation. A file that has them needs no other columns. */
export const conversationColumns = ["messages", "conversations"] as const;

const roles: Record<string, Turn["role"]> = Object.assign(Object.create(null), {
  system: "system",
  developer: "system",
  user: "user",
  human: "user",
  assistant: "assistant",
  gpt: "assistant",
  model: "assistant",
  tool: "tool",
  function: "tool",
});

/** The conversation in a row's fields; null when the row has none of the shapes, a text when it has one and is broken. */
export function recognise(fields: Record<string, unknown>): Conversation | string | null {
  if (Array.isArray(fields.messages)) return fromTurns(fields.messages, "messages", "role", "content");
  if (Array.isArray(fields.conversations)) {
    const first = fields.conversations[0] as Record<string, unknown> | undefined;
    const openAi = typeof first === "object" && first !== null && "role" in first;
    return fromTurns(fields.conversations, "conversations", openAi ? "role" : "from", openAi ? "content" : "value");
  }
  if (typeof fields.instruction === "string" && typeof fields.output === "string") {
    const input = typeof fields.input === "string" && fields.input.trim() !== "" ? `\n\n${fields.input}` : "";
    return { messages: [{ role: "user", content: fields.instruction + input }], answer: fields.output };
  }
  return null;
}

function fromTurns(turns: unknown[], field: string, roleKey: string, textKey: string): Conversation | string {
  const messages: Turn[] = [];
  for (const [index, turn] of turns.entries()) {
    const at = `${field}[${index}]`;
    if (typeof turn !== "object" || turn === null) return `${at} is no object`;
    const role = roles[String((turn as Record<string, unknown>)[roleKey])];
    if (role === undefined) return `${at}.${roleKey} is none of ${Object.keys(roles).join(", ")}`;
    const content = textOf((turn as Record<string, unknown>)[textKey]);
    if (content === null) return `${at}.${textKey} is no text`;
    messages.push({ role, content });
  }
  const last = messages.findLastIndex((turn) => turn.role === "assistant");
  if (last === -1) return `${field} has no assistant turn to learn from`;
  if (last === 0) return `${field} begins with the answer`;
  return {
    messages: messages.slice(0, last).map((turn) => Object.assign(emptyFields() as object, turn) as Turn),
    answer: messages[last]!.content,
  };
}

/** A turn's text; OpenAI also writes it as a list of parts. */
function textOf(content: unknown): string | null {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return null;
  const parts = content.map((part) => (part as { type?: unknown; text?: unknown } | null) ?? {});
  if (!parts.every((part) => part.type === "text" && typeof part.text === "string")) return null;
  return parts.map((part) => part.text as string).join("");
}
