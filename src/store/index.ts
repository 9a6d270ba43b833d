// The room's door: answers on disk, by their requests and by the texts that ask for them.
export { type Normalisation, normalisations, normalise } from "./alias.js";
export {
  canonical,
  type EmbeddingRequest,
  keyText,
  type LabelsRequest,
  type LaidRequest,
  type Maker,
  type Request,
  requestKey,
  requestKeys,
  sha256,
  type TextRequest,
} from "./key.js";
export {
  type Fit,
  fitOf,
  innerProduct,
  keepFit,
  keepNear,
  leadsNear,
  type Near,
  NearIndex,
  spaceOf,
} from "./near.js";
export { type Answer, packAnswer, unpackAnswer, vectorBytes } from "./record.js";
export {
  type Entry,
  type Found,
  type Lookup,
  type OpenStoreOptions,
  openStore,
  Store,
  type StoreCounts,
  told,
} from "./store.js";
export { backupStore, type ExportedStore, exportStore, type ImportedStore, importStore } from "./transfer.js";
export {
  type PruneOptions,
  type PruneResult,
  pruneStore,
  type StoreStats,
  type StoreVerification,
  storeStats,
  verifyStore,
} from "./upkeep.js";
