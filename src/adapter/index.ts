// The room's door: adapters on disk.
export {
  type Calibration,
  calibrationFile,
  type LabelCalibration,
  type Line,
  loadCalibration,
  writeCalibration,
} from "./calibration.js";
export { type Adapter, readAdapterFolder, writeAdapterFolder } from "./folder.js";
export { hashLora } from "./hash.js";
export { type Head, headFile, isHeadTensor, kindOfLoss, loadHead, lossUnit, requireNoHead, writeHead } from "./head.js";
export { adapterFiles, loadAdapter } from "./load.js";
export { readSafetensors, readSafetensorsHeader, type Tensor, writeSafetensors } from "./safetensors.js";
export type { SafetensorsHeader, TensorEntry } from "./safetensors_header.js";
