// A failure of the engine costs the rows that it is about, and no others: what was under way is tried again, in halves, until a row that fails is alone. Knows no
// store and no file.
import { StillroomError } from "../support/errors.js";
import { answerAll, type Engine, type Requests, type Tell } from "./engine.js";

/** Further tries of a row that failed alone, where nothing else is said. */
export const usualRetries = 2;
/** Rows that fail one behind the other with no answer between them: that is the machine's failure, and no row's. */
const mostFailures = 64;

/** Failures that no row is to blame for, and that another try would meet again. */
const ofTheJob: readonly unknown[] = ["usage", "missing", "io", "cancelled"];

/**
 * answerAll for the windows of a job: a row that fails alone, and fails again in each of `retries` further tries, is told with its reason, and the others go on.
 *
 * @param onWarning - hears of each failure that leads to another try
 * @throws what was thrown where it is no row's failure, or the last of 64 rows' that failed one behind the other
 */
export function answering(
  engine: Engine,
  retries: number,
  onWarning: ((message: string) => void) | undefined,
): (requests: Requests, front: Int32Array, tell: Tell, signal: AbortSignal) => Promise<void> {
  let failures = 0;
  return async (requests, front, tell, signal) => {
    const open = new Set(requests.keys());
    let teller: { error: unknown } | null = null;
    const told: Tell = async (place, outcome, tokens) => {
      open.delete(place);
      if (!("reason" in outcome)) failures = 0;
      await tell(place, outcome, tokens).catch((error) => {
        teller = { error };
        throw error;
      });
    };
    const work = async (places: readonly number[], left: number): Promise<void> => {
      const asked = places.map((place) => requests[place]!);
      try {
        await answerAll(engine, asked, front, (at, outcome, tokens) => told(places[at]!, outcome, tokens), signal);
      } catch (error) {
        const rest = places.filter((place) => open.has(place));
        if (teller || signal.aborted || rest.length === 0 || ofTheJob.includes((error as StillroomError).code))
          throw error;
        const { message } = error as Error;
        if (rest.length > 1) {
          onWarning?.(`answering ${rest.length} rows failed, they are tried again in halves: ${message}`);
          const half = rest.length >> 1;
          await work(rest.slice(0, half), retries);
          await work(rest.slice(half), retries);
        } else if (left > 0) {
          onWarning?.(`answering a row failed, it is tried again: ${message}`);
          await work(rest, left - 1);
        } else if (++failures < mostFailures) {
          const reason = retries === 0 ? message : `failed ${retries + 1} times: ${message}`;
          await told(rest[0]!, { reason, atWork: true }, 0);
        } else {
          throw new StillroomError(
            "internal",
            `${failures} rows failed one behind the other, which is no fault of theirs; the last one: ${message}`,
            { cause: error },
          );
        }
      }
    };
    await work([...requests.keys()], retries);
  };
}
