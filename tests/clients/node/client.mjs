// What openai-node gets from a server, as JSON for test_clients_openai.py.
import OpenAI from "openai";

const { url, key, texts, question } = JSON.parse(process.argv[2]);
const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0, timeout: 30_000 });

const embedded = await client.embeddings.create({ model: "sample", input: texts });
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const filters = { type: "gte", key: "year", value: 2000 };
const page = await client.vectorStores.search("sample", { query: question, filters, max_num_results: 3 });
let refused = null;
try {
  await client.embeddings.create({ model: "gpt", input: "x" });
} catch (error) {
  refused = { status: error.status, code: error.code };
}
const vectors = embedded.data.map((one) => Array.from(one.embedding));
console.log(JSON.stringify({ vectors, models, found: page.data.map((one) => one.file_id), refused }));
