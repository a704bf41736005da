// The real `serve` against a provider that nobody here wrote, with each kind of store.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { launch, look, sessionCookie, visitor } from './browser.mjs';
import { ask, command, navigation, until } from './harness.mjs';
import { provide } from './provider.mjs';
import { pick, serve, site } from './site.mjs';

const seen = async (page) => JSON.parse(await page.locator('pre').innerText());

const stores = {
  SQLite: {},
  Postgres: { postgres: true },
  'Postgres and Redis': { postgres: true, redis: true },
};

for (const [name, store] of Object.entries(stores)) {
  test(`a whole sign-in with oidc-provider, sessions in ${name}`, async (t) => {
    const place = await site(t, { store });
    const asked = await provide(t, { port: place.providerPort, client: place.client });
    const run = await serve(t, place);
    const context = await visitor(t, await launch(t));
    const page = await context.newPage();

    // Somebody whom the provider knows and we do not.
    await page.goto(`${place.address}/staff?a=%2F`);
    await pick(page, 'sub-carol');
    await page.getByRole('link', { name: 'Use another account' }).click();
    assert.equal(asked.authorizations.at(-1).prompt, 'select_account');

    // US-03: the right address, but nobody verified that it is theirs.
    await pick(page, 'sub-dave');
    await page.getByRole('link', { name: 'Use another account' }).click();

    await pick(page, 'sub-alice');
    await page.getByRole('heading', { name: 'App' }).waitFor();
    assert.equal(page.url(), `${place.address}/staff?a=%2F`);
    const { target, headers } = await seen(page);
    assert.equal(target, '/staff?a=%2F');
    assert.equal(headers['x-auth-request-email'], 'alice@corp.test');
    assert.equal(headers['x-auth-request-user'], 'alice@corp.test');
    assert.equal(decodeURIComponent(headers['x-auth-request-name']), 'Zoë Alice'); // ID-03
    assert.equal(headers['x-auth-request-groups'], 'staff');
    assert.doesNotMatch(headers.cookie ?? '', /(^|;\s*)(__Host-|__Secure-)?gate/, 'our cookie reached the app');

    assert.equal(asked.authorizations.length, 3);
    for (const query of asked.authorizations) {
      assert.equal(query.code_challenge_method, 'S256');
      assert.match(query.code_challenge, /^[\w-]{43}$/);
      assert.ok(query.nonce.length >= 16 && query.state.length >= 16);
      assert.match(query.scope, /\bopenid\b/);
    }
    for (const key of ['nonce', 'state', 'code_challenge']) {
      assert.equal(new Set(asked.authorizations.map((query) => query[key])).size, 3, `${key} is used twice`);
    }
    assert.deepEqual([asked.tokens, asked.userinfos], [3, 3]);

    // Signed in, but not for this route: a page that says as whom.
    assert.equal((await page.goto(`${place.address}/board`)).status(), 403);
    await page.getByText('alice@corp.test').first().waitFor();
    await look(page, 'forbidden');

    // The operator's view, and the operator's hand: the session ends, the cookie is dead.
    const sessions = command('session', 'ls', '--json', '--config', place.config);
    assert.match(sessions, /alice@corp\.test/);
    const cookie = await sessionCookie(context);
    command('session', 'end-all', '--yes', '--config', place.config);
    await until('the end of the session', async () => (await ask(`${place.address}/`, { headers: { ...navigation, Cookie: cookie } })).status === 303);

    // LG-06: the next sign-in is another session.
    await page.goto(`${place.address}/`);
    await page.getByRole('heading', { name: 'App' }).or(page.getByRole('link', { name: 'sub-alice' })).first().waitFor();
    if (await page.getByRole('link', { name: 'sub-alice' }).count()) await pick(page, 'sub-alice');
    await page.getByRole('heading', { name: 'App' }).waitFor();
    assert.notEqual(await sessionCookie(context), cookie);
    command('user', 'disable', 'alice@corp.test', '--config', place.config);
    await until('the end of a disabled user', async () => (await page.goto(`${place.address}/`)).status() === 403);

    // RULE-29: nothing secret is in the log.
    await run.stop();
    const secrets = [place.client.client_secret, cookie.split('=')[1], ...asked.authorizations.flatMap((query) => [query.state, query.nonce])];
    for (const text of secrets) assert.ok(!run.log.includes(text), 'a secret stands in the log');
    assert.doesNotMatch(run.log, /[?&](code|state)=|a=%2F|postgres:\/\/gate:|redis:\/\/:/);
  });
}

describe('a provider that is down', () => {
  test('LG-08 does not keep the gateway from starting, is told, and is found when it is back', async (t) => {
    const place = await site(t);
    const run = await serve(t, place);
    const page = await (await visitor(t, await launch(t))).newPage();
    const answer = await page.goto(`${place.address}/staff`);
    assert.ok([502, 503, 504].includes(answer.status()), `status ${answer.status()}`);
    await look(page, 'provider-down');
    assert.match(run.log, /provider|issuer/i);

    await provide(t, { port: place.providerPort, client: place.client });
    await until('the provider to be found', async () => {
      await page.goto(`${place.address}/staff`);
      return (await page.getByRole('link', { name: 'sub-alice' }).count()) > 0;
    });
    await pick(page, 'sub-alice');
    await page.getByRole('heading', { name: 'App' }).waitFor();
    assert.equal((await seen(page)).target, '/staff');
  });
});

test('a session that was idle for too long ends by itself', async (t) => {
  const place = await site(t);
  writeFileSync(place.config, 'session: {ttl: 2s, max_lifetime: 10s}\n', { flag: 'a' });
  await provide(t, { port: place.providerPort, client: place.client });
  await serve(t, place);
  const context = await visitor(t, await launch(t));
  const page = await context.newPage();
  await page.goto(`${place.address}/`);
  await pick(page, 'sub-alice');
  await page.getByRole('heading', { name: 'App' }).waitFor();
  const cookie = await sessionCookie(context);
  await page.waitForTimeout(3000);
  assert.equal((await ask(`${place.address}/`, { headers: { ...navigation, Cookie: cookie } })).status, 303);
});
