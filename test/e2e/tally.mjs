// A reporter for node --test that prints three numbers: passed, failed, skipped. Suites only group
// tests and are not counted; a test marked "todo" proves nothing and counts as skipped.
export default async function* tally(events) {
  const count = { pass: 0, fail: 0, skip: 0 };
  for await (const { type, data } of events) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    if (data.details?.type === 'suite') continue;
    if (data.skip !== undefined || data.todo !== undefined) count.skip++;
    else if (type === 'test:pass') count.pass++;
    else count.fail++;
  }
  yield `${count.pass} ${count.fail} ${count.skip}\n`;
}
