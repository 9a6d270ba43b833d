// The room's door: texts to vectors.
export { type EmbedOptions, embed, embedBatches, embedRows, type Pooling, poolings, requirePooling } from "./embed.js";
