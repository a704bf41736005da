// The demo, walked through as the README tells a newcomer to.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { launch, look, sessionCookie, visitor } from './browser.mjs';
import { ask, freePort, gatehouse, navigation, until } from './harness.mjs';

// The pages, by what a person reads on them.
const account = (page, email) => page.getByRole('button', { name: email });
const [known, unknown] = ['alice@example.com', 'bob@example.com'];
const another = (page) => page.getByRole('link', { name: 'Use another account' });

// demo starts the demo and returns the address that it prints.
async function demo(t) {
  const run = gatehouse(t, ['demo', '--listen', `localhost:${await freePort()}`]);
  const [address] = await until('the address', () => {
    assert.ok(!run.ended(), `the demo ended: ${run.log}`);
    return run.out.match(/http:\/\/localhost:\d+/);
  });
  return { run, address };
}

// signIn picks the known account on the chooser.
async function signIn(page) {
  await account(page, known).click();
  await page.getByRole('heading', { name: /^Hello, / }).waitFor();
}

// signOut goes to the page with the button, and presses it.
async function signOut(page) {
  await page.getByRole('link', { name: 'sign out' }).click();
  await page.getByRole('button', { name: /sign out/i }).click();
  await page.getByText(/signed out/i).first().waitFor();
}

const told = (page, name) => page.getByRole('row', { name }).getByRole('cell').innerText();

for (const javaScriptEnabled of [true, false]) {
  describe(`the demo, ${javaScriptEnabled ? 'with' : 'without'} JavaScript`, () => {
    test('signs in the known account, sends away the unknown one, signs out', async (t) => {
      const { address } = await demo(t);
      const context = await visitor(t, await launch(t), { javaScriptEnabled });
      const page = await context.newPage();
      const see = (name) => javaScriptEnabled && look(page, name);

      await page.goto(`${address}/`);
      await see('chooser');
      await account(page, unknown).click();
      await another(page).waitFor();
      assert.equal((await page.reload()).status() >= 400, true, 'a reload of the refusal lets nobody in');
      await page.goto(`${address}/`);
      await account(page, unknown).click();
      await another(page).waitFor();
      await see('not-a-user');
      assert.equal((await context.cookies()).filter((c) => c.name === 'gate').length, 0);

      await another(page).click();
      await signIn(page);
      await see('app');
      const email = await told(page, /X-Auth-Request-Email/);
      assert.equal(email, known);
      assert.equal(await told(page, /X-Auth-Request-User/), email);
      assert.equal(await page.locator('#target').innerText(), 'GET /');

      const old = await sessionCookie(context);
      assert.equal((await ask(`${address}/`, { headers: { ...navigation, Cookie: old } })).status, 200);
      await page.getByRole('link', { name: 'sign out' }).click();
      await see('sign-out');
      await page.goBack();
      await signOut(page);
      await see('signed-out');

      // LO-01: the cookie is gone from the browser, and the old one opens nothing any more.
      assert.equal((await context.cookies()).filter((c) => c.name === 'gate').length, 0);
      assert.equal((await ask(`${address}/`, { headers: { ...navigation, Cookie: old } })).status, 303);
      assert.equal((await ask(`${address}/`, { headers: { Accept: 'application/json', Cookie: old } })).status, 401);
    });

    test('lets somebody else type who he is, and sends him away', async (t) => {
      const { address } = await demo(t);
      const page = await (await visitor(t, await launch(t), { javaScriptEnabled })).newPage();
      await page.goto(`${address}/`);
      await page.getByText('Someone else').click();
      await page.getByLabel('E-mail').fill('carol@example.com');
      await page.getByLabel('Name').fill('Carol Cooper');
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByText('carol@example.com').waitFor();
      await another(page).click();
      await signIn(page);
    });

    test('RD-04 a deep link arrives byte for byte', async (t) => {
      const { address } = await demo(t);
      const page = await (await visitor(t, await launch(t), { javaScriptEnabled })).newPage();
      const target = '/reports/%E2%82%AC/a%2Fb?q=a%26b&x=1;y=2&rd=%2Fz&next=https%3A%2F%2Fother.test%2Fx&e=&f&z=%zz';
      await page.goto(address + target);
      await signIn(page);
      assert.equal(await page.locator('#target').innerText(), `GET ${target}`);
      assert.equal(page.url(), address + target);
    });
  });
}

describe('the demo', () => {
  test('LO-02 the back button after signing out shows nothing of the app', async (t) => {
    const { address } = await demo(t);
    const page = await (await visitor(t, await launch(t))).newPage();
    await page.goto(`${address}/`);
    await signIn(page);
    await page.goto(`${address}/reports`);
    await signOut(page);
    for (let step = 0; step < 3; step++) {
      await page.goBack();
      assert.equal(await page.getByRole('heading', { name: /^Hello, / }).count(), 0, page.url());
    }
  });

  for (const [order, second] of [['first', 0], ['last', 1]]) {
    test(`LG-01 two tabs at once each land on their own page, the ${order} one first`, async (t) => {
      const { address } = await demo(t);
      const context = await visitor(t, await launch(t));
      const targets = ['/a?tab=1', '/b?tab=2'];
      const pages = [];
      for (const target of targets) {
        pages.push(await context.newPage());
        await pages.at(-1).goto(address + target);
      }
      for (const i of second ? [1, 0] : [0, 1]) {
        await signIn(pages[i]);
        assert.equal(await pages[i].locator('#target').innerText(), `GET ${targets[i]}`);
      }
      await pages[0].reload();
      assert.equal(await pages[0].locator('#target').innerText(), `GET ${targets[0]}`);
      const left = (await context.cookies()).filter(({ name }) => name.includes('attempt'));
      assert.deepEqual(left, [], 'a login attempt outlives the login');
    });
  }

  test('PX-03 a session that ends in the middle of a form is told, and the way back is there', async (t) => {
    const { address } = await demo(t);
    const context = await visitor(t, await launch(t));
    const page = await context.newPage();
    await page.goto(`${address}/edit`);
    await signIn(page);
    await page.getByLabel(/form/i).fill('kept <b>text</b>');
    await page.getByRole('button', { name: 'Send' }).click();
    assert.equal(await page.locator('#sent').innerText(), 'kept <b>text</b>');

    // Somebody ends the session elsewhere: this browser still has the cookie, and the form open.
    await page.goto(`${address}/edit`);
    await page.getByLabel(/form/i).fill('typed before it ended');
    const ended = await ask(`${address}/_gate/logout`, {
      method: 'POST',
      headers: { Cookie: await sessionCookie(context), Origin: address, 'Sec-Fetch-Site': 'same-origin' },
    });
    assert.equal(ended.status, 303);
    const [answer] = await Promise.all([
      page.waitForResponse((res) => res.request().method() === 'POST'),
      page.getByRole('button', { name: 'Send' }).click(),
    ]);
    assert.equal(answer.status(), 401);
    await look(page, 'session-ended');
    assert.equal(await page.locator('#sent').count(), 0);

    // The browser still has what was typed: one step back it is there, to be copied or sent again.
    await page.goBack();
    assert.equal(await page.getByLabel(/form/i).inputValue(), 'typed before it ended');
    await page.getByRole('button', { name: 'Send' }).click();
    await page.getByRole('link', { name: /sign in/i }).click();
    await signIn(page);
    assert.equal(await page.locator('#target').innerText(), 'GET /edit');
  });

  test('a callback that is opened again finds its way, and a stale one is no dead end', async (t) => {
    const { address } = await demo(t);
    const context = await visitor(t, await launch(t));
    const page = await context.newPage();
    const callbacks = [];
    page.on('request', (req) => req.url().includes('/_gate/callback') && callbacks.push(req.url()));
    await page.goto(`${address}/a`);
    await signIn(page);
    assert.equal(callbacks.length, 1);

    // LG-02: with the session the same address leads on to where it led before.
    await page.goto(callbacks[0]);
    assert.equal(await page.locator('#target').innerText(), 'GET /a');

    // Without a session it is a page with a link, never another round by itself.
    await context.clearCookies();
    const answer = await page.goto(callbacks[0]);
    assert.ok(answer.status() >= 400 && answer.status() < 500, `status ${answer.status()}`);
    await look(page, 'stale-sign-in');
    await page.getByRole('link', { name: /sign in/i }).click();
    await signIn(page);
  });

  test('errors are pages too', async (t) => {
    const { address } = await demo(t);
    const page = await (await visitor(t, await launch(t))).newPage();
    assert.equal((await page.goto(`${address}/_gate/nothing-here`)).status(), 404);
    await look(page, 'not-found');
  });

  test('PX-01 a script gets 401 and the address to sign in at, never a redirect', async (t) => {
    const { address } = await demo(t);
    const res = await ask(`${address}/api`, { headers: { Accept: 'application/json' } });
    assert.equal(res.status, 401);
    assert.equal(res.headers.location, undefined);
    assert.equal(res.headers['set-cookie'], undefined);
    assert.ok(JSON.parse(res.text).login);
  });
});
