// Load exports in an unmodified transformers.js and generate: the number of image tokens and the tokens that came out.
//
//     ONNXRUNTIME_NODE_INSTALL=skip npm install @huggingface/transformers@4.3.1
//     node tools/try_transformers_js.mjs IMAGE EXPORT...
//
// Prints a line an export and exits 1 where the image tokens are not those of its manifest.
import { readFileSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [image, ...folders] = process.argv.slice(2);
const found = createRequire(resolve("package.json")).resolve("@huggingface/transformers");
const { AutoProcessor, AutoModelForImageTextToText, RawImage, env } = await import(pathToFileURL(found));
env.allowRemoteModels = false;
let wrong = 0;
for (const folder of folders.map((name) => resolve(name))) {
  env.localModelPath = dirname(folder);
  const manifest = JSON.parse(readFileSync(`${folder}/manifest.json`, "utf8"));
  const config = JSON.parse(readFileSync(`${folder}/config.json`, "utf8"));
  const processor = await AutoProcessor.from_pretrained(basename(folder));
  const model = await AutoModelForImageTextToText.from_pretrained(basename(folder), { dtype: "fp32", device: "cpu" });
  const question = { role: "user", content: [{ type: "image" }, { type: "text", text: "What is this?" }] };
  const text = processor.apply_chat_template([question], { add_generation_prompt: true });
  const inputs = await processor(await RawImage.read(image), text);
  const ids = Array.from(inputs.input_ids.data, Number);
  const count = ids.filter((id) => id === config.image_token_index).length;
  const output = await model.generate({ ...inputs, do_sample: false, max_new_tokens: 16 });
  const tokens = Array.from(output.data, Number).slice(ids.length);
  const good = count === manifest.visual_tokens;
  wrong += good ? 0 : 1;
  console.log(`${good ? "good" : "WRONG"} ${basename(folder)}: ${count} image tokens, then ${tokens.join(" ")}`);
}
process.exit(wrong ? 1 : 0);
