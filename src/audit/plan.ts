// What an audit looks at: favourable labels, lists of terms, groups of rows; from a task's settings and a user's options. Asks no model.
import type { Row } from "../dataset/index.js";
import { type Label, momentsOf } from "../evaluate/index.js";
import { StillroomError, unexpected } from "../support/errors.js";
import type { Task } from "../task/index.js";
import { byColumn, byTerms, type Membership } from "./membership.js";
import { builtInTerms, type TermGroups } from "./terms.js";

/** What an audit looks at. */
export interface Plan {
  task: Task;
  seed: number;
  /** Favourable labels, each looked at in turn; none for generate and regress, and for more than ten labels of which none is named. */
  positives: string[];
  /** The one of them that shifts are measured by; null where the right answer's are. */
  positive: string | null;
  /** Numbers that lie no farther apart count as the same: a tenth of the standard deviation of the rows' targets, of all that are equal a tenth of their size (of 1, if that is 0). null but for regress. */
  tolerance: number | null;
  lists: TermGroups[];
  memberships: Membership[];
}

export interface PlanOptions {
  seed: number;
  groups?: readonly string[] | undefined;
  positive?: string | undefined;
  swaps?: readonly (readonly [string, string])[] | undefined;
}

/** Looked at in turn without being named. */
const mostLabels = 10;

/** Throws "usage" for a label, a column without a name or a swap that cannot be, "input" for a column that the rows have not. */
export function planAudit(task: Task, rows: readonly Row[], given: readonly Label[], options: PlanOptions): Plan {
  // Those of numbers are points of a scale, of which none is favourable.
  const labels = task.kind === "regress" ? [] : given;
  const named = Object.entries(task.audit?.terms ?? {}).map(([attribute, groups]) => ({ attribute, groups }));
  // A task's own list of a name takes the place of that in the box.
  const kept = builtInTerms.filter(({ attribute }) => !named.some((own) => own.attribute === attribute));
  const lists = [...kept, ...named, ...ownPairs(options.swaps ?? [])];
  const { groups = [] } = options;
  if (groups.some((column) => column.trim() === "")) throw unexpected("names of columns", "groups", groups);
  const columns = [...new Set([...(task.audit?.columns ?? []), ...groups])];
  const positive = favourable(task, labels, options.positive);
  const each = labels.length <= mostLabels ? labels.map(({ text }) => text) : [];
  return {
    task,
    seed: options.seed,
    positives: positive === null ? each : [positive],
    positive,
    tolerance: task.kind === "regress" ? toleranceOf(rows) : null,
    lists,
    memberships: [...columns.map((column) => byColumn(column, rows)), ...lists.map((terms) => byTerms(terms, task))],
  };
}

function toleranceOf(rows: readonly Row[]): number {
  const targets = rows.map(({ answer }) => Number(answer));
  const [first = 0] = targets;
  if (targets.every((target) => target === first)) return (Math.abs(first) || 1) / 10;
  return Math.sqrt(momentsOf(targets).variance) / 10;
}

function favourable(task: Task, labels: readonly Label[], option: string | undefined): string | null {
  const name = option ?? task.audit?.positive;
  // Of a set's two labels neither is the other's opposite.
  if (name === undefined) return labels.length === 2 && task.kind === "classify" ? labels[1]!.text : null;
  const found = labels.find(({ text, value }) => text === name || value === name);
  if (found) return found.text;
  const known = labels.map(({ text }) => text).join(", ") || "no labels: the task has none";
  if (option !== undefined) throw unexpected(`one of ${known}`, "positive", option);
  throw new StillroomError("input", `${task.file}: expected one of ${known} for audit.positive, received ${name}`);
}

/** Pairs of words as one attribute of two groups. */
function ownPairs(pairs: readonly (readonly [string, string])[]): TermGroups[] {
  for (const pair of pairs) {
    const [one, other] = pair;
    if (pair.length === 2 && one.trim() !== "" && other.trim() !== "" && one.toLowerCase() !== other.toLowerCase())
      continue;
    throw unexpected("pairs of two different words", "swaps", pair);
  }
  if (pairs.length === 0) return [];
  return [{ attribute: "swap", groups: { first: pairs.map(([one]) => one), second: pairs.map(([, other]) => other) } }];
}
