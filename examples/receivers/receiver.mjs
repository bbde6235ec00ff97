// Receives webhooks: checks the signature, answers at once, handles each event once.
//
//     WEBHOOK_SECRET=whsec_... node receiver.mjs        listens on 127.0.0.1:9000; PORT and HOST change that
//
// Node 18 or newer, no dependency. During a rotation WEBHOOK_SECRET may hold several secrets with blanks between them.

import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const TOLERANCE_SECONDS = 5 * 60;
const MAX_BODY_BYTES = 4 * 1024 * 1024;
const REMEMBERED_IDS = 10_000;

const keys = (process.env.WEBHOOK_SECRET ?? '')
  .split(/\s+/)
  .filter(Boolean)
  .map((secret) => Buffer.from(secret.replace(/^whsec_/, ''), 'base64'));

/**
 * Why a request is refused; null where one of the signatures in the header was made with one of our keys.
 * `body` must be the bytes as they came: JSON that was parsed and written again has another signature.
 */
function refusal(headers, body, now) {
  const id = headers['webhook-id'];
  const timestamp = headers['webhook-timestamp'];
  if (!id || !/^[0-9]{1,12}$/.test(timestamp ?? '')) return 'webhook-id or webhook-timestamp is missing';
  if (Math.abs(now - Number(timestamp)) > TOLERANCE_SECONDS) return 'the timestamp is more than five minutes off';

  const wanted = keys.map((key) => createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest());
  // "v1,<base64> v1,<base64>": two or more during a rotation; versions that we do not know are passed over.
  for (const signature of (headers['webhook-signature'] ?? '').split(' ')) {
    const [version, text] = signature.split(',', 2);
    const given = Buffer.from(text ?? '', 'base64');
    // timingSafeEqual throws where the lengths differ; a length is no secret.
    const matches = (each) => given.length === each.length && timingSafeEqual(given, each);
    if (version === 'v1' && wanted.some(matches)) return null;
  }
  return 'no signature matches';
}

// In memory, so that the example needs nothing. A real inbox is a table with the webhook-id as its primary key: insert
// before you answer, and what was inserted survives a crash.
const seen = new Set();

function put(id, body) {
  if (seen.has(id)) return false;
  seen.add(id);
  if (seen.size > REMEMBERED_IDS) seen.delete(seen.values().next().value);
  setImmediate(() => {
    // JSON.parse rounds integers beyond 2^53. Where ids are that large, read them with a parser that keeps digits.
    const event = JSON.parse(body.toString('utf8'));
    console.log(`handled ${id} ${event.name} call=${event.call_id}`);
  });
  return true;
}

function answer(response, status) {
  response.writeHead(status).end();
}

const server = createServer((request, response) => {
  if (request.method !== 'POST') return answer(response, 405);
  const chunks = [];
  let size = 0;
  request.on('data', (chunk) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_BODY_BYTES) request.destroy();
  });
  request.on('end', () => {
    const body = Buffer.concat(chunks);
    const why = refusal(request.headers, body, Date.now() / 1000);
    if (why !== null) {
      console.log(`refused: ${why}`);
      return answer(response, 401);
    }
    const id = request.headers['webhook-id'];
    if (!put(id, body)) console.log(`seen before ${id} attempt=${request.headers['x-webhook-attempt']}`);
    // 204 for an event that was seen before too: anything else would have it sent again.
    answer(response, 204);
  });
});

// An empty key would accept what anybody can sign.
if (keys.length === 0 || keys.some((key) => key.length === 0)) {
  console.error('set WEBHOOK_SECRET to the whsec_... that was shown when the webhook was made');
  process.exit(1);
}
// Longer than the sender keeps an idle connection (15 s), so that it is the sender who closes it.
server.keepAliveTimeout = 60_000;
server.listen(Number(process.env.PORT ?? 9000), process.env.HOST ?? '127.0.0.1', () => {
  const { address, port } = server.address();
  console.log(`listening on http://${address}:${port}`);
});
