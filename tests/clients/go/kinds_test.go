package clients

import (
	"encoding/json"
	"os"
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// sample is a row of the file HAWSER_SAMPLES.
type sample struct {
	Resource   string
	Namespaced bool
	Object     json.RawMessage
}

// TestEveryKindInProtobuf creates, reads, lists, watches, updates, patches and deletes one object of each kind that
// client-go has types for. What comes as protobuf must be what comes as JSON.
func TestEveryKindInProtobuf(t *testing.T) {
	c := start(t)
	raw, err := os.ReadFile(os.Getenv("HAWSER_SAMPLES"))
	c.must(err)
	var samples []sample
	c.must(json.Unmarshal(raw, &samples))
	seen := 0
	for _, row := range samples {
		obj, gvk, err := scheme.Codecs.UniversalDeserializer().Decode(row.Object, nil, nil)
		if runtime.IsNotRegisteredError(err) {
			continue
		}
		c.must(err)
		seen++
		c.Run(gvk.String(), func(t *testing.T) { c.inner(t).lifeOf(row, *gvk, obj) })
	}
	if seen < 50 {
		c.Fatalf("only %d kinds", seen)
	}
}

func (c *cluster) inner(t *testing.T) *cluster {
	inside := *c
	inside.T = t
	return &inside
}

func (c *cluster) rest(gv schema.GroupVersion, content string) rest.Interface {
	config := *c.config
	config.GroupVersion = &gv
	config.ContentType, config.AcceptContentTypes = content, content
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	config.APIPath = "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	client, err := rest.RESTClientFor(&config)
	c.must(err)
	return client
}

func (c *cluster) lifeOf(row sample, gvk schema.GroupVersionKind, obj runtime.Object) {
	client, asJSON := c.rest(gvk.GroupVersion(), protobuf), c.rest(gvk.GroupVersion(), runtime.ContentTypeJSON)
	access, err := meta.Accessor(obj)
	c.must(err)
	name := access.GetName()
	access.SetNamespace("")
	create := func() (runtime.Object, error) {
		return client.Post().NamespaceIfScoped(c.space, row.Namespaced).Resource(row.Resource).Body(obj).Do(c.ctx).Get()
	}
	if name == "" {
		// What only answers.
		_, err := create()
		c.must(err)
		return
	}
	one := func(request *rest.Request) *rest.Request {
		return request.NamespaceIfScoped(c.space, row.Namespaced).Resource(row.Resource).Name(name)
	}
	made, err := create()
	c.must(err)
	_, err = create()
	c.refused(errors.IsAlreadyExists, err, `"`+name+`" already exists`)
	got, err := one(client.Get()).Do(c.ctx).Get()
	c.must(err)
	other, err := one(asJSON.Get()).Do(c.ctx).Get()
	c.must(err)
	forms := []runtime.Object{made, got, other}
	for _, form := range forms {
		form.GetObjectKind().SetGroupVersionKind(gvk)
	}
	for _, form := range forms {
		if versionOf(c, form) != versionOf(c, got) {
			// The server itself has added to the object: a status, say.
			continue
		}
		if !equality.Semantic.DeepEqual(form, got) {
			c.Fatalf("JSON and protobuf differ:\n%#v\n%#v", form, got)
		}
	}
	events, err := client.Get().NamespaceIfScoped(c.space, row.Namespaced).Resource(row.Resource).VersionedParams(
		&metav1.ListOptions{Watch: true, FieldSelector: "metadata.name=" + name, ResourceVersion: versionOf(c, made)},
		scheme.ParameterCodec).Watch(c.ctx)
	c.must(err)
	defer events.Stop()
	patch := []byte(`{"metadata":{"labels":{"patched":"yes"}}}`)
	c.must(one(client.Patch(types.MergePatchType)).Body(patch).Do(c.ctx).Error())
	c.expect(events, watch.Modified, "patched")
	patch = []byte(`{"metadata":{"labels":{"strategic":"yes"}}}`)
	got, err = one(client.Patch(types.StrategicMergePatchType)).Body(patch).Do(c.ctx).Get()
	c.must(err)
	c.expect(events, watch.Modified, "strategic")
	access, err = meta.Accessor(got)
	c.must(err)
	access.SetLabels(map[string]string{"updated": "yes"})
	c.must(one(client.Put()).Body(got).Do(c.ctx).Error())
	c.expect(events, watch.Modified, "updated")
	// The version that was read first is an old one now.
	_, err = one(client.Put()).Body(made).Do(c.ctx).Get()
	c.refused(errors.IsConflict, err, "the object has been modified")
	list, err := client.Get().NamespaceIfScoped(c.space, row.Namespaced).Resource(row.Resource).VersionedParams(
		&metav1.ListOptions{LabelSelector: "updated=yes"}, scheme.ParameterCodec).Do(c.ctx).Get()
	c.must(err)
	equal(c, "items", meta.LenList(list), 1)
	background := metav1.DeletePropagationBackground
	c.must(one(client.Delete()).Body(&metav1.DeleteOptions{PropagationPolicy: &background}).Do(c.ctx).Error())
	got, err = one(client.Get()).Do(c.ctx).Get()
	if err == nil {
		// What has finalizers or time to end is marked.
		access, err = meta.Accessor(got)
		c.must(err)
		equal(c, "marked", access.GetDeletionTimestamp() != nil, true)
		return
	}
	c.refused(errors.IsNotFound, err, `"`+name+`" not found`)
	c.expect(events, watch.Deleted, "updated")
}

// expect takes events of a watch up to one of a sort, whose object has a label. Others are the server's own changes.
func (c *cluster) expect(events watch.Interface, kind watch.EventType, label string) {
	c.Helper()
	for {
		select {
		case event := <-events.ResultChan():
			access, err := meta.Accessor(event.Object)
			if err != nil {
				c.Fatalf("wanted %s of %s, got %v", kind, label, event)
			}
			if event.Type == kind && (label == "" || access.GetLabels()[label] == "yes") {
				return
			}
		case <-c.ctx.Done():
			c.Fatalf("no event: %s of %s", kind, label)
		}
	}
}

func versionOf(c *cluster, obj runtime.Object) string {
	access, err := meta.Accessor(obj)
	c.must(err)
	return access.GetResourceVersion()
}
