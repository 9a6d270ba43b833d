// Rows and tasks for the tests of this room.
import type { Row } from "../../src/dataset/index.js";
import type { Task } from "../../src/task/index.js";

let line = 0;

export function rowOf(fields: Record<string, unknown>, answer = "yes"): Row {
  line += 1;
  return {
    index: line,
    file: "/rows.jsonl",
    line,
    fields: Object.assign(Object.create(null), fields),
    answer,
    value: answer,
  };
}

export function taskOf(prompt: Partial<Task["prompt"]>): Task {
  return {
    name: "test",
    kind: "classify",
    file: "/task.yaml",
    data: {},
    prompt: { template: "Text: {{ text }}\nLabel:", separator: "\n\n", chat: false, ...prompt },
    answer: { field: "label" },
    metric: "accuracy",
    maxTokens: 64,
  };
}

/** The ChatML layout that most small models use. */
export const chatMl =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
