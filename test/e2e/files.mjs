// A gateway that takes files, and what its page shows, by what a person reads on it.
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { launch, visitor } from './browser.mjs';
import { provide } from './provider.mjs';
import { pick, serve, site } from './site.mjs';

// place starts a gateway that takes files, and signs somebody in.
export async function place(t, { options, ...more } = {}) {
  const at = await site(t, { routes: ['path: /upload, upload: true'], ...more });
  await provide(t, { port: at.providerPort, client: at.client });
  await serve(t, at);
  const context = await visitor(t, await launch(t), options);
  const page = await context.newPage();
  await page.goto(`${at.address}/upload`);
  await pick(page, 'sub-alice');
  await heading(page).waitFor();
  return { address: at.address, context, page };
}

export const heading = (page) => page.getByRole('heading', { name: 'Your files' });
export const queue = (page) => page.getByRole('list', { name: 'Uploads' }).getByRole('listitem');
export const files = (page) => page.getByRole('list', { name: 'Files' }).getByRole('listitem');
export const choose = (page, paths) => page.getByLabel(/Choose files/).setInputFiles(paths);
export const sum = (bytes) => createHash('sha256').update(bytes).digest('hex');

// file writes a file of random bytes and returns its path.
export function file(dir, name, size) {
  writeFileSync(path.join(dir, name), randomBytes(size));
  return path.join(dir, name);
}
