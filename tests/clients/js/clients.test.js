// The tests of test_javascript.py: @kubernetes/client-node, unmodified, against the server that KUBECONFIG names.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { PassThrough } from 'node:stream';
import {
    ApiException,
    AppsV1Api,
    AuthenticationV1Api,
    AuthorizationV1Api,
    BatchV1Api,
    CoreV1Api,
    CustomObjectsApi,
    Exec,
    Health,
    KubeConfig,
    KubernetesObjectApi,
    Log,
    PatchStrategy,
    VersionApi,
    Watch,
    loadAllYaml,
    loadYaml,
    makeInformer,
    setHeaderOptions,
} from '@kubernetes/client-node';

const config = new KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(CoreV1Api);
const apps = config.makeApiClient(AppsV1Api);
const objects = KubernetesObjectApi.makeApiClient(config);
const namespace = 'javascript';

before(async () => {
    await core.createNamespace({ body: { metadata: { name: namespace } } });
});

/** Waits for something that callbacks bring about. */
async function until(what) {
    for (let rounds = 0; rounds < 2000; rounds++) {
        const found = await what();
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assert.fail(`never: ${what}`);
}

/** The Status of a failed call. */
async function refused(promise, code) {
    try {
        await promise;
    } catch (error) {
        assert.ok(error instanceof ApiException, String(error));
        assert.equal(error.code, code, error.body);
        return typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
    }
    assert.fail(`should have been ${code}`);
}

const configMap = (name, data = {}) => ({ metadata: { name, labels: { of: 'js' } }, data });
const pod = (name) => ({ metadata: { name }, spec: { containers: [{ name: 'c', image: 'busybox' }] } });

test('objects are made, read, listed, replaced and deleted', async () => {
    const made = await core.createNamespacedConfigMap({ namespace, body: configMap('a', { k: 'v' }) });
    assert.ok(made.metadata.creationTimestamp instanceof Date);
    const found = await core.readNamespacedConfigMap({ namespace, name: 'a' });
    assert.deepEqual(found, made);
    found.data.k = 'w';
    const replaced = await core.replaceNamespacedConfigMap({ namespace, name: 'a', body: found });
    assert.equal(replaced.data.k, 'w');
    const conflict = await refused(core.replaceNamespacedConfigMap({ namespace, name: 'a', body: made }), 409);
    assert.equal(conflict.reason, 'Conflict');
    const list = await core.listNamespacedConfigMap({ namespace, labelSelector: 'of=js', fieldSelector: 'metadata.name=a' });
    assert.equal(list.items.length, 1);
    const status = await core.deleteNamespacedConfigMap({ namespace, name: 'a' });
    assert.equal(status.status, 'Success');
    assert.equal((await refused(core.readNamespacedConfigMap({ namespace, name: 'a' }), 404)).reason, 'NotFound');
});

test('patches of every sort', async () => {
    await core.createNamespacedPod({ namespace, body: pod('patched') });
    const patch = (body, sort) =>
        core.patchNamespacedPod({ namespace, name: 'patched', body }, setHeaderOptions('Content-Type', sort));
    await patch([{ op: 'add', path: '/metadata/labels', value: { json: 'yes' } }], PatchStrategy.JsonPatch);
    await patch({ metadata: { labels: { merge: 'yes' } } }, PatchStrategy.MergePatch);
    const spec = { containers: [{ name: 'c', image: 'new:1' }] };
    const last = await patch({ spec }, PatchStrategy.StrategicMergePatch);
    assert.deepEqual(last.metadata.labels, { json: 'yes', merge: 'yes' });
    assert.equal(last.spec.containers[0].image, 'new:1');
});

test('server-side apply and its conflicts', async () => {
    const spec = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace }, data: { k: 'v' } };
    const apply = (obj, manager, force) =>
        objects.patch(obj, undefined, undefined, manager, force, PatchStrategy.ServerSideApply);
    await apply(spec, 'one');
    const other = { ...spec, data: { k: 'w' } };
    const status = await refused(apply(other, 'two'), 409);
    assert.match(status.message, /conflict with "one": \.data\.k/);
    const forced = await apply(other, 'two', true);
    assert.equal(forced.data.k, 'w');
});

test('objects of any kind by their manifests', async () => {
    const manifests = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: ${namespace}}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: ${namespace}}
spec: {selector: {app: web}, ports: [{port: 80}]}
`;
    for (const manifest of loadAllYaml(manifests)) {
        await objects.create(manifest);
        const found = await objects.read(manifest);
        assert.ok(found.metadata.uid);
        const { items } = await objects.list(manifest.apiVersion, manifest.kind, namespace);
        assert.ok(items.some((item) => item.metadata.name === 'web'));
    }
    const scale = await apps.readNamespacedDeploymentScale({ namespace, name: 'web' });
    scale.spec.replicas = 4;
    await apps.replaceNamespacedDeploymentScale({ namespace, name: 'web', body: scale });
    assert.equal((await apps.readNamespacedDeployment({ namespace, name: 'web' })).spec.replicas, 4);
    await objects.delete({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'web', namespace } });
});

test('lists in pieces', async () => {
    for (const name of ['p1', 'p2', 'p3']) {
        await core.createNamespacedSecret({ namespace, body: { metadata: { name, labels: { page: 'yes' } } } });
    }
    const names = [];
    let _continue;
    do {
        const page = await core.listNamespacedSecret({ namespace, limit: 2, _continue, labelSelector: 'page=yes' });
        names.push(...page.items.map((item) => item.metadata.name));
        _continue = page.metadata._continue;
    } while (_continue);
    assert.deepEqual(names, ['p1', 'p2', 'p3']);
    await core.deleteCollectionNamespacedSecret({ namespace, labelSelector: 'page=yes' });
    assert.equal((await core.listNamespacedSecret({ namespace, labelSelector: 'page=yes' })).items.length, 0);
});

test('watches', async () => {
    const { metadata } = await core.listNamespacedConfigMap({ namespace });
    const seen = [];
    let ended = false;
    const request = await new Watch(config).watch(
        `/api/v1/namespaces/${namespace}/configmaps`,
        { resourceVersion: metadata.resourceVersion, labelSelector: 'of=js', allowWatchBookmarks: true },
        (phase, obj) => seen.push(`${phase} ${obj.metadata.name}`),
        () => (ended = true),
    );
    await core.createNamespacedConfigMap({ namespace, body: configMap('watched') });
    await core.deleteNamespacedConfigMap({ namespace, name: 'watched' });
    await until(() => seen.includes('DELETED watched'));
    assert.ok(seen.includes('ADDED watched'));
    request.abort();
    await until(() => ended);
});

test('informers', async () => {
    await core.createNamespacedPod({ namespace, body: pod('first') });
    const list = () => core.listNamespacedPod({ namespace });
    const informer = makeInformer(config, `/api/v1/namespaces/${namespace}/pods`, list);
    const seen = [];
    for (const verb of ['add', 'update', 'delete']) {
        informer.on(verb, (obj) => seen.push(`${verb} ${obj.metadata.name}`));
    }
    await informer.start();
    await until(() => seen.includes('add first'));
    await core.createNamespacedPod({ namespace, body: pod('second') });
    await until(() => seen.includes('add second'));
    const status = { status: { phase: 'Running' } };
    const merge = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);
    await core.patchNamespacedPodStatus({ namespace, name: 'second', body: status }, merge);
    await until(() => seen.includes('update second'));
    assert.equal(informer.get('second', namespace).status.phase, 'Running');
    await core.deleteNamespacedPod({ namespace, name: 'second', gracePeriodSeconds: 0 });
    await until(() => seen.includes('delete second'));
    await informer.stop();
});

test('custom resources', async () => {
    const definition = loadYaml(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: buoys.js.example.com}
spec:
  group: js.example.com
  names: {kind: Buoy, plural: buoys}
  scope: Namespaced
  versions:
  - {name: v1, served: true, storage: true, subresources: {status: {}}, schema: {openAPIV3Schema: {
      type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}}
`);
    await objects.create(definition);
    await until(async () => {
        const { status } = await objects.read(definition);
        return status?.conditions?.some((one) => one.type === 'Established' && one.status === 'True');
    });
    const custom = config.makeApiClient(CustomObjectsApi);
    const where = { group: 'js.example.com', version: 'v1', namespace, plural: 'buoys' };
    const body = { apiVersion: 'js.example.com/v1', kind: 'Buoy', metadata: { name: 'b' }, spec: { size: 1 } };
    await custom.createNamespacedCustomObject({ ...where, body });
    const merge = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);
    await custom.patchNamespacedCustomObject({ ...where, name: 'b', body: { spec: { size: 2 } } }, merge);
    assert.equal((await custom.listNamespacedCustomObject(where)).items[0].spec.size, 2);
    const bad = { ...body, metadata: { name: 'c' }, spec: { size: 'many' } };
    assert.equal((await refused(custom.createNamespacedCustomObject({ ...where, body: bad }), 422)).reason, 'Invalid');
    await custom.deleteNamespacedCustomObject({ ...where, name: 'b' });
    await objects.delete(definition);
});

test('who asks and what they may', async () => {
    await core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: 'robot' } } });
    const body = { spec: { audiences: [], expirationSeconds: 1200 } };
    const { status } = await core.createNamespacedServiceAccountToken({ namespace, name: 'robot', body });
    const robot = new KubeConfig();
    robot.loadFromOptions({
        clusters: config.clusters,
        users: [{ name: 'robot', token: status.token }],
        contexts: [{ name: 'robot', cluster: config.clusters[0].name, user: 'robot' }],
        currentContext: 'robot',
    });
    const review = await robot.makeApiClient(AuthenticationV1Api).createSelfSubjectReview({ body: {} });
    assert.equal(review.status.userInfo.username, `system:serviceaccount:${namespace}:robot`);
    const ask = { spec: { resourceAttributes: { namespace, verb: 'list', resource: 'pods' } } };
    const access = await robot.makeApiClient(AuthorizationV1Api).createSelfSubjectAccessReview({ body: ask });
    assert.equal(access.status.allowed, false);
    await refused(robot.makeApiClient(CoreV1Api).listNamespacedPod({ namespace }), 403);
});

test('dates, quantities and numbers stay what they are', async () => {
    const spec = {
        schedule: '*/5 * * * *',
        jobTemplate: { spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'b', resources: { limits: { memory: '64Mi' } } }] } } } },
    };
    const batch = config.makeApiClient(BatchV1Api);
    const made = await batch.createNamespacedCronJob({ namespace, body: { metadata: { name: 'often' }, spec } });
    assert.equal(made.spec.jobTemplate.spec.template.spec.containers[0].resources.limits.memory, '64Mi');
    const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name: 'l', namespace }, spec: { renewTime: '2026-01-02T03:04:05.678901Z' } };
    await objects.create(lease);
    assert.match(new Date((await objects.read(lease)).spec.renewTime).toISOString(), /^2026-01-02T03:04:05.678/);
});

test('streams of pods without a node are refused with their reason', async () => {
    await core.createNamespacedPod({ namespace, body: pod('loose') });
    const log = new PassThrough();
    await new Log(config).log(namespace, 'loose', 'c', log, { follow: false });
    await refused(new Log(config).log(namespace, 'loose', 'nope', new PassThrough(), {}), 400);
    const exec = new Exec(config).exec(namespace, 'loose', 'c', ['true'], new PassThrough(), null, null, false);
    await assert.rejects(exec, (error) => /400|Bad Request/.test(error.message ?? error.error?.message));
});

test('version and health', async () => {
    const version = await config.makeApiClient(VersionApi).getCode();
    assert.equal(version.minor, '36');
    assert.equal(await new Health(config).readyz({}), true);
    assert.equal(await new Health(config).livez({}), true);
});
