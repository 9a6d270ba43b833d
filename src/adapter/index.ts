// The room's door: adapters on disk.
export { type Adapter, readAdapterFolder, writeAdapterFolder } from "./folder.js";
export { hashLora } from "./hash.js";
export { adapterFiles, loadAdapter } from "./load.js";
export { readSafetensors, readSafetensorsHeader, type Tensor, writeSafetensors } from "./safetensors.js";
export type { SafetensorsHeader, TensorEntry } from "./safetensors_header.js";
