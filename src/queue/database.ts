// A connection to PostgreSQL that outlives the server's restarts: what failed for want of a connection is done again, for so long; then it says so. Knows no
// table.
import type pg from "pg";
import { StillroomError, unexpected } from "../support/errors.js";
import { Random } from "../support/random.js";

/** What pg-boss asks of a database, and what a transaction gives. */
export interface Sql {
  executeSql(text: string, values?: unknown[]): Promise<{ rows: pg.QueryResultRow[]; rowCount: number }>;
}

export interface DatabaseOptions {
  /** Seconds for which a server that does not answer is tried again. */
  patience: number;
  signal?: AbortSignal | undefined;
  onWarning?: ((message: string) => void) | undefined;
}

/** How long the first connection may fail, and how long work that was called off may take to be handed back, in milliseconds. */
const briefly = 3000;
const longestPause = 5000;
/** A process that is stopped within a transaction must not hold its locks for longer. */
const idleInTransaction = 10_000;

export class Database implements Sql {
  readonly #pool: pg.Pool;
  readonly #random = new Random(process.pid);
  #connected = false;
  #told = false;

  private constructor(
    /** The URL without its password. */
    readonly place: string,
    pool: pg.Pool,
    readonly options: DatabaseOptions,
  ) {
    this.#pool = pool;
    // A server that goes ends idle connections too; the next call notices.
    this.#pool.on("error", () => undefined);
  }

  /** Throws "usage" for what is no URL of PostgreSQL, "missing" where nothing answers there. */
  static async open(url: string, options: DatabaseOptions): Promise<Database> {
    const place = placeOf(url);
    const { default: driver } = await import("pg");
    const pool = new driver.Pool({
      connectionString: url,
      max: 3,
      connectionTimeoutMillis: 10_000,
      keepAlive: true,
      query_timeout: 120_000,
      idle_in_transaction_session_timeout: idleInTransaction,
      application_name: "stillroom",
    });
    const database = new Database(place, pool, options);
    try {
      await database.executeSql("SELECT 1");
      database.#connected = true;
      return database;
    } catch (error) {
      await database.close();
      throw error;
    }
  }

  executeSql(text: string, values?: unknown[]): Promise<{ rows: pg.QueryResultRow[]; rowCount: number }> {
    return this.#persist(async () => resultOf(await this.#pool.query(text, values as never)));
  }

  /** All of it or nothing. `work` may be called again: where the connection went during the commit, what it does finds its own traces. */
  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    return this.#persist(async () => {
      const client = await this.#pool.connect();
      client.on("error", ignore);
      let broken = true;
      try {
        await client.query("BEGIN");
        const result = await work({
          executeSql: async (text, values) => resultOf(await client.query(text, values as never)),
        });
        await client.query("COMMIT");
        broken = false;
        return result;
      } finally {
        client.off("error", ignore);
        // A connection in the middle of something is no longer one to share.
        client.release(broken);
      }
    });
  }

  /** Work that only one process does at a time. Where the connection goes meanwhile, so does the lock, and the work goes on: it is to bear another's beside it. */
  async alone<T>(name: number, work: () => Promise<T>): Promise<T> {
    const client = await this.#persist(async () => {
      const locked = await this.#pool.connect();
      locked.on("error", ignore);
      try {
        await locked.query("SELECT pg_advisory_lock($1)", [name]);
        return locked;
      } catch (error) {
        locked.release(true);
        throw error;
      }
    });
    try {
      return await work();
    } finally {
      client.release(true);
    }
  }

  async close(): Promise<void> {
    await this.#pool.end().catch(() => undefined);
  }

  async #persist<T>(attempt: () => Promise<T>): Promise<T> {
    const { patience, signal, onWarning } = this.options;
    let [began, wasAborted] = [performance.now(), signal?.aborted === true];
    for (let pause = 50; ; pause = Math.min(2 * pause, longestPause)) {
      try {
        const result = await attempt();
        if (this.#told) onWarning?.(`the queue at ${this.place} answers again`);
        this.#told = false;
        return result;
      } catch (error) {
        const kind = kindOf(error);
        if (kind === "fault") throw faultOf(error, this.place);
        if (signal?.aborted && !wasAborted) [began, wasAborted] = [performance.now(), true];
        // One that has no room for us is there.
        const there = this.#connected || (error as { code?: string }).code === tooMany;
        const limit = there && !signal?.aborted ? 1000 * patience : briefly;
        if (kind === "refused" || performance.now() - began > limit) throw awayOf(error, this.place);
        if (kind === "away" && there && !this.#told) {
          this.#told = true;
          onWarning?.(
            `the queue at ${this.place} does not answer (${reasonOf(error)}); trying again for ${patience} s`,
          );
        }
        await new Promise((resolve) => setTimeout(resolve, pause * (0.5 + this.#random.float())));
      }
    }
  }
}

/** PostgreSQL's code for no room for a further connection. */
const tooMany = "53300";
/** And for no room on its disk. */
const diskFull = "53100";
const ignore = () => undefined;
const resultOf = (result: pg.QueryResult) => ({ rows: result.rows, rowCount: result.rowCount ?? 0 });

/** A URL as it may be shown. Throws "usage" for another kind of text, without repeating it: it may hold a password. */
function placeOf(url: string): string {
  const parsed = typeof url === "string" && URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || !["postgres:", "postgresql:"].includes(parsed.protocol))
    throw unexpected("a URL such as postgres://user@host:5432/database", "queue", typeof url === "string" ? "…" : url);
  const user = parsed.username === "" ? "" : `${decodeURIComponent(parsed.username)}@`;
  return `postgres://${user}${parsed.host}${parsed.pathname}`;
}

/** Conflicts of transactions, and a server or a connection that went, pass; a wrong password does not. */
function kindOf(error: unknown): "conflict" | "away" | "refused" | "fault" {
  const { code = "", message = "" } = error as { code?: string; message?: string };
  if (code === "40001" || code === "40P01") return "conflict";
  if (/^(28|3D|42501)/.test(code) || noPassword.test(message)) return "refused";
  const away =
    /^(57P0[0-5]|08...|25P03|53300|ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_|ENOENT|EACCES)/;
  if (away.test(code) || /connection terminated|timeout|not queryable|connection ended/i.test(message)) return "away";
  const { errors } = error as { errors?: unknown[] };
  return errors !== undefined && errors.length > 0 ? kindOf(errors[0]) : "fault";
}

/** What pg says where a server asks for a password and there is none. */
const noPassword = /client password must be a string/;

function reasonOf(error: unknown): string {
  const { message, code, errors } = error as { message: string; code?: string; errors?: { message: string }[] };
  if (noPassword.test(message)) return "it asks for a password; put one into the URL, PGPASSWORD or ~/.pgpass";
  return message || errors?.[0]?.message || code || "no reason given";
}

function awayOf(error: unknown, place: string): StillroomError {
  return new StillroomError(
    "missing",
    `the queue at ${place} does not answer: ${reasonOf(error)}; is PostgreSQL running there, and does it let this user in? (psql ${place} -c 'select 1')`,
    { cause: error },
  );
}

function faultOf(error: unknown, place: string): unknown {
  if (error instanceof StillroomError || !("severity" in (error as object))) return error;
  const full = (error as { code?: string }).code === diskFull;
  const remedy = full ? "; make room there, and run the same command again" : "";
  return new StillroomError(full ? "io" : "internal", `the queue at ${place}: ${reasonOf(error)}${remedy}`, {
    cause: error,
  });
}
