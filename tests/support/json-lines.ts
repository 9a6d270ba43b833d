// Files of JSON Lines that what is tested wrote.
import { readFileSync } from "node:fs";

export const jsonLines = (file: string) =>
  readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
