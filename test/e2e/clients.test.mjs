// The clients that people have, unchanged: Uppy, a plain form and curl.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { sessionCookie } from './browser.mjs';
import { file, files, heading, place, sum } from './files.mjs';
import { app, folder } from './harness.mjs';

const MiB = 1 << 20;

// The app's own page, with a plain form and with Uppy, beside the upload route on one host.
const form = '<form method="post" enctype="multipart/form-data" action="/upload"><label>Files <input type="file" name="photos" multiple></label><input name="note" value="x"><button>Send</button></form>';
const uppy = `
  import Uppy from '@uppy/core';
  import XHRUpload from '@uppy/xhr-upload';
  globalThis.send = async (files, options) => {
    const logger = { debug() {}, warn() {}, error() {} }; // it takes every failure for one of the network
    const uppy = new Uppy({ logger }).use(XHRUpload, { endpoint: '/upload', ...options });
    for (const [name, text] of files) uppy.addFile({ name, type: 'text/plain', data: new Blob([text]) });
    const { successful, failed } = await uppy.upload();
    return { failed: failed.map((f) => f.response?.status ?? f.error), answers: successful.map((f) => f.response) };
  };`;

async function beside(t) {
  const resolveDir = fileURLToPath(new URL('.', import.meta.url));
  const [script] = buildSync({ stdin: { contents: uppy, resolveDir }, bundle: true, write: false, format: 'esm' }).outputFiles;
  const upstream = await app(t, (req, res) => {
    res.setHeader('Content-Type', req.url === '/uppy.js' ? 'text/javascript' : 'text/html; charset=utf-8');
    res.end(req.url === '/uppy.js' ? script.text : `<!doctype html><html lang="en"><title>App</title><main><h1>App</h1>${form}</main><script type="module" src="/uppy.js"></script></html>`);
  });
  return place(t, { upstream });
}

test('Uppy, a request for each file and one for all', async (t) => {
  const { address, page } = await beside(t);
  await page.goto(`${address}/`);
  await page.waitForFunction(() => globalThis.send);
  const sent = [['a.txt', 'hello'], ['ü.txt', '']];
  for (const options of [{}, { bundle: true, fieldName: 'files[]' }]) {
    const { failed, answers } = await page.evaluate(([f, o]) => globalThis.send(f, o), [sent, options]);
    assert.deepEqual(failed, []);
    assert.deepEqual(answers.map(({ status }) => status), [201, 201]);
    const kept = new Map(answers.flatMap(({ body }) => body.files).map((f) => [f.name, f.sha256]));
    assert.deepEqual([...kept].sort(), sent.map(([name, text]) => [name, sum(text)]).sort());
  }
});

test('Uppy hears that the session has ended', async (t) => {
  const { address, context, page } = await beside(t);
  await page.goto(`${address}/`);
  await page.waitForFunction(() => globalThis.send);
  await context.clearCookies();
  const { failed, answers } = await page.evaluate(([f]) => globalThis.send(f, { shouldRetry: () => false }), [[['a.txt', 'x']]]);
  assert.deepEqual([failed, answers], [[401], []]);
});

test('a plain form of another page', async (t) => {
  const { address, page } = await beside(t);
  await page.goto(`${address}/`);
  const dir = folder(t);
  await page.getByLabel('Files').setInputFiles([file(dir, 'a.jpg', 10), file(dir, 'b.jpg', 20)]);
  await page.getByRole('button', { name: 'Send' }).click();
  await heading(page).waitFor();
  assert.deepEqual((await files(page).getByRole('link').allInnerTexts()).sort(), ['a.jpg', 'b.jpg']);
});

test('curl, by form and by PUT, and back again', async (t) => {
  const { address, context, page } = await place(t);
  const dir = folder(t);
  const cookie = `Cookie: ${await sessionCookie(context)}`;
  const curl = (...args) => execFileSync('curl', ['-sS', '--fail-with-body', '-H', cookie, ...args], { maxBuffer: 8 * MiB });
  const [a, b] = [file(dir, 'a "quoted".bin', 2 * MiB), file(dir, 'b.bin', 0)];
  const sent = JSON.parse(curl('-F', 'note=x', '-F', `f=@"${a.replaceAll('"', '\\"')}"`, '-F', `f=@${b};type=image/png`, `${address}/upload`));
  assert.deepEqual(sent.files.map(({ name, size, declared }) => [name, size, declared]), [['a "quoted".bin', 2 * MiB, 'application/octet-stream'], ['b.bin', 0, 'image/png']]);
  assert.equal(sent.files[0].sha256, sum(readFileSync(a)));
  assert.equal(sum(curl(`${address}${sent.files[0].url}`)), sum(readFileSync(a)));

  const put = JSON.parse(curl('-T', b, `${address}/upload/`));
  assert.equal(put.name, 'b.bin');
  curl('-X', 'DELETE', `${address}${put.url}`);
  await page.reload();
  assert.equal(await files(page).count(), 2);
});
