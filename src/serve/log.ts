// What the server tells while it works, in the calls of a pino logger. Nothing of a prompt is told unless that was asked for.

/** Of a pino logger, what the server calls. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const nothing = () => undefined;

/** Tells nobody. */
export const silent: Log = { debug: nothing, info: nothing, error: nothing };
