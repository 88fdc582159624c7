// The whole story through @vidispine/vdt-api 0.14.0; runs in a directory that has it.
//
// usage: node vdt_story.js URL PASSWORD FIRST-ROOT SECOND-ROOT FRAME

'use strict';

const assert = require('assert');
const fs = require('fs');
const { createRequire } = require('module');
const { pathToFileURL } = require('url');

const api = createRequire(`${process.cwd()}/`)('@vidispine/vdt-api');
const WAIT_MS = 120000;

const [url, password, firstRoot, secondRoot, frame] = process.argv.slice(2);

async function finish(answer) {
  const until = Date.now() + WAIT_MS;
  for (;;) {
    const { data } = await api.job.getJob({ jobId: answer.data.jobId });
    if (data.status === 'FINISHED') {
      return Object.fromEntries(data.data.map(({ key, value }) => [key, value]));
    }
    assert(!['FAILED_TOTAL', 'ABORTED'].includes(data.status), JSON.stringify(data));
    assert(Date.now() < until, JSON.stringify(data));
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function makeStorage(root) {
  const method = { uri: `${pathToFileURL(root)}/`, read: true, write: true, browse: true };
  const storageDocument = { type: 'LOCAL', method: [method] };
  return (await api.storage.createStorage({ storageDocument })).data.id;
}

async function main() {
  api.utils.login({ baseURL: url, username: 'admin', password });
  const content = fs.readFileSync(frame);
  const [storageId, targetStorageId] = [await makeStorage(firstRoot), await makeStorage(secondRoot)];
  const method = await api.storage.createStorageMethod({
    storageId, queryParams: { url: 'file:///export/', type: 'NFS' },
  });
  assert.match(method.data, /^VX-\d+\tfile:\/\/\/export\/\tNFS\r\n$/);

  // Two pieces, the last one first, as its chunked upload sends them.
  const half = Math.floor(content.length / 2);
  const upload = (start, end) => api.file.createFileRaw({
    storageId,
    file: content.subarray(start, end),
    headers: { index: start, size: content.length },
    queryParams: { path: 'vdt/a.dpx', transferId: 'vdt-1', transferPriority: 900 },
  });
  await upload(half, content.length);
  const made = (await upload(0, half)).data;
  assert.strictEqual(made.size, content.length);
  const whole = await api.file.createFileRaw({
    storageId, file: content, queryParams: { path: 'vdt/b.dpx', transferId: 'vdt-2' },
  });
  assert.strictEqual(whole.data.hash, made.hash);

  const found = await api.file.listFile({
    queryParams: { path: '/vdt/a*.dpx', wildcard: true },
    matrixParams: { first: 0, number: 5, sort: 'filename desc', includeItem: true },
  });
  assert.deepStrictEqual(found.data.file.map(({ id }) => id), [made.id]);
  const listed = await api.file.listFileStorage({ storageId, matrixParams: { number: 5 } });
  assert.strictEqual(listed.data.hits, 2);
  const importable = await api.file.listFileStorageImportable({ storageId });
  assert.strictEqual(importable.data.hits, 2);

  const fileId = made.id;
  const closed = await api.file.updateFileState({ fileId, state: 'CLOSED' });
  assert.strictEqual(closed.data.state, 'CLOSED');
  const copied = await finish(await api.file.createFileMove({
    fileId, targetStorageId, queryParams: { jobmetadata: [{ key: 'show', value: 'dune' }] },
  }));
  assert.strictEqual(copied.show, 'dune');
  const imported = await finish(await api.file.createFileImport({ fileId, metadataDocument: {} }));
  const shown = await api.file.getFile({ fileId, matrixParams: { includeItem: true } });
  assert.deepStrictEqual(shown.data.item.map(({ id }) => id), [imported.item]);

  for (const each of [fileId, copied.targetFileId]) {
    const raw = await api.file.getFileRaw({ fileId: each, responseType: 'arraybuffer' });
    assert(content.equals(Buffer.from(raw.data)), 'other bytes came back');
  }
  await finish(await api.file.removeFile({ fileId: copied.targetFileId }));
  await assert.rejects(
    api.file.getFile({ fileId: copied.targetFileId }),
    (error) => error.response.status === 404 && error.response.data.notFound.type === 'File',
  );
  console.log('told to the end');
}

main().catch((error) => {
  console.error(error.response ? JSON.stringify(error.response.data) : error);
  process.exit(1);
});
