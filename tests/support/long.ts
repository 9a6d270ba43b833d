// Sizes of the reliability tests: short in every run, as RELIABILITY asks under npm run test:long.
export const long = process.env.STILLROOM_LONG === "1";

export const sized = (short: number, whole: number): number => (long ? whole : short);

/** Of a test that has both sizes, in milliseconds. */
export const longest = long ? 3_600_000 : 120_000;
