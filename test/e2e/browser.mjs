// A real browser, and what every page of ours must keep: a strict policy, nothing in a cache, no
// error in the console, nothing wider than a phone, and no fault that axe finds.
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

// shots is where the screenshots go: a folder that git ignores.
const shots = path.resolve(process.env.SHOTS ?? '../../.build/shots');
mkdirSync(shots, { recursive: true });

// launch starts Debian's chromium. The flags keep it from asking its maker's servers for anything:
// a test machine may have no way there.
export async function launch(t) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
    ],
  });
  t.after(() => browser.close());
  return browser;
}

// visitor opens a fresh browser profile whose pages are watched: each answer of the gateway's own is
// checked as it comes, and at the end of the test nothing may stand in the console.
export async function visitor(t, browser, options = {}) {
  const context = await browser.newContext(options);
  const faults = [];
  context.on('response', (res) => faults.push(...manners(res)));
  context.on('console', (message) => {
    if (message.type() === 'error' && !expected(message)) faults.push(`console: ${message.text()}`);
  });
  context.on('weberror', (err) => faults.push(`script: ${err.error()}`));
  t.after(async () => {
    await context.close();
    assert.deepEqual(faults, []);
  });
  return context;
}

// expected tells the browser's own remark that a page came with 401, 403 or the like: the walk looks
// at the status itself. That it has no network is something that only a walk can make it believe.
function expected(message) {
  return /^Failed to load resource: (the server responded with a status of [45]\d\d|net::ERR_INTERNET_DISCONNECTED)/.test(message.text());
}

// manners lists what is wrong with an answer that the gateway made itself.
function manners(res) {
  const { pathname } = new URL(res.url());
  const headers = res.headers();
  if (!pathname.startsWith('/_gate/')) return [];
  const faults = [];
  const must = (ok, what) => ok || faults.push(`${res.status()} ${pathname}: ${what}: ${JSON.stringify(headers)}`);
  must(headers['cache-control']?.includes('no-store'), 'may be cached');
  if (headers['content-type']?.startsWith('text/html')) {
    const policy = headers['content-security-policy'] ?? '';
    must(policy.includes("default-src 'none'"), 'the policy allows more than it needs');
    must(policy.includes("frame-ancestors 'none'"), 'may be framed');
    must(policy.includes("base-uri 'none'"), 'a planted <base> could redirect its forms');
    must(/form-action/.test(policy), 'its forms could be sent anywhere');
    must(!/unsafe-|\*|script-src (?!'none')/.test(policy), 'the policy is not strict');
    must(headers['x-content-type-options'] === 'nosniff', 'may be sniffed');
  }
  return faults;
}

// look takes screenshots of a page, at a desk in the light and on a phone in the dark, and judges
// what can be judged without eyes.
export async function look(page, name) {
  const views = [
    ['desk-light', { width: 1280, height: 800 }, 'light'],
    ['phone-dark', { width: 360, height: 740 }, 'dark'],
  ];
  for (const [view, size, colorScheme] of views) {
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: path.join(shots, `${name}-${view}.png`), fullPage: true });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    assert.ok(wide <= 0, `${name} is ${wide} px wider than a screen of ${size.width}`);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const found = violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).join(' ')}`);
    assert.deepEqual(found, [], `${name}, ${view}`);
  }
}

// sessionCookie returns the cookie that the gateway set, as a request would carry it.
export async function sessionCookie(context) {
  const cookie = (await context.cookies()).find(({ name }) => /^(__Host-|__Secure-)?gate$/.test(name));
  assert.ok(cookie, 'no session cookie');
  assert.ok(cookie.httpOnly, 'a script can read the session cookie');
  assert.equal(cookie.sameSite, 'Lax');
  return `${cookie.name}=${cookie.value}`;
}
