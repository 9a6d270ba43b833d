// The tables of the queue in PostgreSQL, beside those of pg-boss. Knows SQL, and no connection.

/** Schema of our tables, and of pg-boss's. */
export const schema = "stillroom";
export const bossSchema = "stillroom_boss";

const version = 2;

/**
 * jobs: what was asked, and how far its rows are handed in.
 * chunks: what is still to be done; a chunk goes in the transaction that keeps its answers.
 * answers: the shared store, by the key of src/store/key.ts; values as the local store packs them, checksum included.
 * failures: requests that have no answer, why, and whether it was the work that failed.
 * work: what was committed, by whom; only ever added to.
 */
export const createTables = `
  CREATE SCHEMA IF NOT EXISTS ${schema};
  CREATE TABLE IF NOT EXISTS ${schema}.version (version int NOT NULL);
  INSERT INTO ${schema}.version SELECT ${version} WHERE NOT EXISTS (SELECT FROM ${schema}.version);
  CREATE TABLE IF NOT EXISTS ${schema}.jobs (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity bytea NOT NULL UNIQUE,
    input text NOT NULL,
    maker jsonb NOT NULL,
    front bytea NOT NULL,
    total bigint NOT NULL,
    submitted bigint NOT NULL DEFAULT 0,
    sent bigint NOT NULL DEFAULT 0,
    complete boolean NOT NULL DEFAULT false,
    started timestamptz NOT NULL DEFAULT now(),
    finished timestamptz);
  CREATE TABLE IF NOT EXISTS ${schema}.chunks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job int NOT NULL REFERENCES ${schema}.jobs ON DELETE CASCADE,
    rows int NOT NULL,
    lease int NOT NULL,
    body bytea NOT NULL);
  ALTER TABLE ${schema}.chunks ALTER COLUMN body SET STORAGE EXTERNAL;
  CREATE INDEX IF NOT EXISTS chunks_job ON ${schema}.chunks (job) INCLUDE (rows);
  CREATE TABLE IF NOT EXISTS ${schema}.answers (
    key bytea PRIMARY KEY,
    value bytea NOT NULL);
  CREATE TABLE IF NOT EXISTS ${schema}.failures (
    job int NOT NULL REFERENCES ${schema}.jobs ON DELETE CASCADE,
    key bytea NOT NULL,
    reason text NOT NULL,
    at_work boolean NOT NULL,
    PRIMARY KEY (job, key));
  CREATE TABLE IF NOT EXISTS ${schema}.work (
    job int NOT NULL REFERENCES ${schema}.jobs ON DELETE CASCADE,
    worker text NOT NULL,
    computed int NOT NULL,
    known int NOT NULL,
    failed int NOT NULL,
    tokens bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT now());
  CREATE INDEX IF NOT EXISTS work_job ON ${schema}.work (job, at);
`;

/** One row where the tables are there and of this version. */
export const tablesThere = `SELECT to_regclass('${schema}.work') IS NOT NULL AS there`;
export const versionOf = `SELECT version = ${version} AS same FROM ${schema}.version`;
