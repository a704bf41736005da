// The upload page, walked through as people do.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { launch, look, sessionCookie, visitor } from './browser.mjs';
import { choose, file, files, heading, place, queue, sum } from './files.mjs';
import { ask, folder, freePort, gatehouse, until } from './harness.mjs';
import { pick } from './site.mjs';

const MiB = 1 << 20;

// slow makes the browser send at most so many bytes a second, and returns how to make it another number.
async function slow(context, page, bytes) {
  const cdp = await context.newCDPSession(page);
  await cdp.send('Network.enable');
  const set = (uploadThroughput) => cdp.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput });
  await set(bytes);
  return set;
}

// download gets a file from the list as a person does.
async function download(page, name) {
  const [got] = await Promise.all([page.waitForEvent('download'), files(page).getByRole('link', { name, exact: true }).click()]);
  return { name: got.suggestedFilename(), bytes: readFileSync(await got.path()) };
}

for (const javaScriptEnabled of [true, false]) {
  test(`the demo takes files, ${javaScriptEnabled ? 'with' : 'without'} JavaScript`, async (t) => {
    const run = gatehouse(t, ['demo', '--listen', `localhost:${await freePort()}`]);
    const [address] = await until('the address', () => run.out.match(/http:\/\/localhost:\d+/));
    const context = await visitor(t, await launch(t), { javaScriptEnabled });
    const page = await context.newPage();
    await page.goto(`${address}/upload`);
    await page.getByRole('button', { name: 'alice@example.com' }).click();
    await heading(page).waitFor();
    if (javaScriptEnabled) await look(page, 'upload-empty');
    await page.setViewportSize({ width: 360, height: 740 });
    const { x, width } = await page.locator('main').boundingBox();
    assert.ok(x + width <= 360, `the page is ${x + width} px wide on a phone`);

    // UP-03: names that are markup, or of another script, are text wherever they are shown.
    const dir = folder(t);
    const names = ['<img src=x onerror=alert(1)>.txt', '日本語 naïve +&#%.txt', 'empty'];
    const paths = names.map((name, i) => file(dir, name, i < 2 ? 100_000 : 0));
    await choose(page, paths);
    if (!javaScriptEnabled) await page.getByRole('button', { name: 'Upload' }).click();
    for (const name of names) await files(page).getByRole('link', { name, exact: true }).waitFor();
    assert.equal(await files(page).count(), 3);
    if (javaScriptEnabled) await look(page, 'upload-files');

    const got = await download(page, names[1]);
    assert.equal(got.name, names[1]);
    assert.equal(sum(got.bytes), sum(readFileSync(paths[1])));

    page.on('dialog', (dialog) => dialog.accept());
    await files(page).getByRole('button', { name: `Delete ${names[0]}` }).click();
    await until('the deletion', async () => (await files(page).count()) === 2);
    await page.reload();
    assert.equal(await files(page).count(), 2);
    assert.equal(await files(page).getByRole('link', { name: names[0], exact: true }).count(), 0);
  });
}

describe('the upload page', () => {
  test('sends three at once, tells speed and time left, and lets go of one', async (t) => {
    const { context, page } = await place(t);
    const speed = await slow(context, page, 30_000);
    const dir = folder(t);
    await choose(page, [1, 2, 3, 4, 5].map((n) => file(dir, `${n}.bin`, 600_000)));
    assert.equal(await queue(page).count(), 5);
    await queue(page).first().getByText(/of 586.KiB · .*\/s · .* left/).waitFor();
    await queue(page).nth(2).getByText(/\/s/).waitFor();
    assert.equal(await queue(page).getByText('Waiting').count(), 2);
    await look(page, 'upload-running');
    await page.getByRole('button', { name: 'Cancel 2.bin' }).click();
    await page.getByRole('button', { name: 'Cancel 5.bin' }).click();
    await speed(-1);
    await until('the others', async () => (await files(page).count()) === 3 && (await queue(page).count()) === 0);
    await page.reload();
    assert.deepEqual((await files(page).getByRole('link').allInnerTexts()).sort(), ['1.bin', '3.bin', '4.bin']);
  });

  test('tells what is too large, what the quota has no room for, and how to go on', async (t) => {
    const { page } = await place(t, { more: 'upload: {max_file_size: 3MiB, quota: {bytes: 5MiB}}\n' });
    const dir = folder(t);
    await choose(page, file(dir, 'large.bin', 3 * MiB + 1));
    await queue(page).getByText(/are allowed/).waitFor();
    await page.getByRole('button', { name: 'Remove large.bin' }).click();
    await choose(page, file(dir, 'first.bin', 2.5 * MiB));
    await files(page).getByRole('link', { name: 'first.bin' }).waitFor();
    await choose(page, file(dir, 'second.bin', 2.9 * MiB));
    await queue(page).getByText(/quota|room|may have/i).waitFor();
    await look(page, 'upload-quota');

    page.on('dialog', (dialog) => dialog.accept());
    await page.getByRole('button', { name: 'Delete first.bin' }).click();
    await until('the deletion', async () => (await files(page).count()) === 0);
    await page.getByRole('button', { name: 'Retry second.bin' }).click();
    await files(page).getByRole('link', { name: 'second.bin' }).waitFor();
  });

  test('comes again when it is told to, and when a connection broke', async (t) => {
    const { page } = await place(t);
    const answers = [
      (route) => route.fulfill({ status: 503, headers: { 'Retry-After': '1' }, json: { message: 'No memory is left.' } }),
      (route) => route.abort('internetdisconnected'),
      (route) => route.continue(),
    ];
    await page.route('**/upload', (route) => (route.request().method() === 'POST' ? answers.shift()(route) : route.continue()));
    await choose(page, file(folder(t), 'a.bin', 1000));
    await queue(page).getByText('No memory is left. Trying again in 1').waitFor();
    await queue(page).getByText('The connection broke.').waitFor();
    await page.getByRole('button', { name: 'Retry a.bin' }).click();
    await files(page).getByRole('link', { name: 'a.bin' }).waitFor();
  });

  test('UP-12 keeps what was chosen when the session ends in the middle', async (t) => {
    const { address, context, page } = await place(t);
    const speed = await slow(context, page, 50_000);
    await choose(page, file(folder(t), 'a.bin', 2 * MiB));
    await queue(page).getByText(/\/s/).waitFor();
    const ended = await ask(`${address}/_gate/logout`, {
      method: 'POST',
      headers: { Cookie: await sessionCookie(context), Origin: address, 'Sec-Fetch-Site': 'same-origin' },
    });
    assert.equal(ended.status, 303);
    await page.getByRole('button', { name: 'Retry a.bin' }).waitFor();
    await speed(-1);
    if (!(await queue(page).getByText('You are signed out').count())) await page.getByRole('button', { name: 'Retry a.bin' }).click();
    const link = queue(page).getByRole('link', { name: 'sign in' });
    await link.waitFor();
    await look(page, 'upload-signed-out');
    assert.equal(await files(page).count(), 0);

    const [tab] = await Promise.all([context.waitForEvent('page'), link.click()]);
    await heading(tab).or(tab.getByRole('link', { name: 'sub-alice' })).first().waitFor();
    if (await tab.getByRole('link', { name: 'sub-alice' }).count()) await pick(tab, 'sub-alice');
    await heading(tab).waitFor();
    await page.getByRole('button', { name: 'Retry a.bin' }).click();
    await files(page).getByRole('link', { name: 'a.bin' }).waitFor();
  });

  test('takes what is dropped on it', async (t) => {
    const { page } = await place(t);
    const dropped = await page.evaluateHandle(() => {
      const data = new DataTransfer();
      for (const name of ['a.txt', 'b.txt']) data.items.add(new File([name], name));
      return data;
    });
    await page.dispatchEvent('main', 'dragover', { dataTransfer: dropped });
    await page.dispatchEvent('main', 'drop', { dataTransfer: dropped });
    await until('both files', async () => (await files(page).count()) === 2);
  });
});
