package clients

import (
	"encoding/json"
	"strings"
	"testing"

	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"sigs.k8s.io/yaml"
)

// TestDiscovery reads it aggregated and as it was before, and maps kinds, resources and short names with it.
func TestDiscovery(t *testing.T) {
	c := start(t)
	client := c.client.Discovery()
	said, err := client.ServerVersion()
	c.must(err)
	equal(c, "version", version.MustParseGeneric(said.GitVersion).Minor(), 36)
	unaggregated := discovery.NewDiscoveryClientForConfigOrDie(c.config)
	unaggregated.UseLegacyDiscovery = true
	// Other tests define resources of their own meanwhile: what counts is what the server brings.
	count := func(client discovery.DiscoveryInterface) (resources int) {
		_, lists, err := client.ServerGroupsAndResources()
		c.must(err)
		for _, list := range lists {
			if group := strings.Split(list.GroupVersion, "/")[0]; !strings.Contains(group, "example") {
				resources += len(list.APIResources)
			}
		}
		return resources
	}
	equal(c, "resources in both forms", count(client), count(unaggregated))
	preferred, err := client.ServerPreferredNamespacedResources()
	c.must(err)
	if len(preferred) < 10 {
		c.Fatalf("only %d groups are preferred", len(preferred))
	}
	cached := memory.NewMemCacheClient(client)
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(cached), cached, nil)
	for short, resource := range map[string]string{"po": "pods", "deploy": "deployments", "crd": "customresourcedefinitions", "netpol": "networkpolicies"} {
		found, err := mapper.ResourceFor(schema.GroupVersionResource{Resource: short})
		c.must(err)
		equal(c, "resource of "+short, found.Resource, resource)
	}
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"})
	c.must(err)
	equal(c, "the preferred version", mapping.GroupVersionKind.Version, "v2")
	all, ok := restmapper.NewDiscoveryCategoryExpander(client).Expand("all")
	if !ok || len(all) < 8 {
		c.Fatalf("category all: %v", all)
	}
}

// TestOpenAPI reads both versions of it.
func TestOpenAPI(t *testing.T) {
	c := alone(t)
	document, err := c.client.Discovery().OpenAPISchema()
	c.must(err)
	if len(document.Definitions.AdditionalProperties) < 500 || len(document.Paths.Path) < 200 {
		c.Fatalf("%d definitions, %d paths", len(document.Definitions.AdditionalProperties), len(document.Paths.Path))
	}
	root := openapi3.NewRoot(c.client.Discovery().OpenAPIV3())
	versions, err := root.GroupVersions()
	c.must(err)
	for _, gv := range versions {
		spec, err := root.GVSpec(gv)
		c.must(err)
		if len(spec.Paths.Paths) == 0 {
			c.Fatalf("%s has no paths", gv)
		}
	}
	_, err = openapi.NewTypeConverter(c.client.Discovery().OpenAPIV3(), false)
	c.must(err)
}

// TestOpenAPIMessage finds the same in a document of version 3 as protobuf and as JSON.
func TestOpenAPIMessage(t *testing.T) {
	c := start(t)
	paths, err := c.client.Discovery().OpenAPIV3().Paths()
	c.must(err)
	text, err := paths["apis/apps/v1"].Schema("application/json")
	c.must(err)
	expected, err := openapi_v3.ParseDocument(text)
	c.must(err)
	message, err := paths["apis/apps/v1"].Schema(openapi.ContentTypeOpenAPIV3PB)
	c.must(err)
	document := &openapi_v3.Document{}
	c.must(proto.Unmarshal(message, document))
	canonical(c, expected.ProtoReflect())
	canonical(c, document.ProtoReflect())
	equal(c, "document", proto.Equal(document, expected), true)
}

// canonical writes all YAML below a message in one form.
func canonical(c *cluster, message protoreflect.Message) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.Name() == "yaml":
			text, err := yaml.YAMLToJSON([]byte(value.String()))
			c.must(err)
			message.Set(field, protoreflect.ValueOfString(string(text)))
		case field.Message() != nil && field.IsList():
			for i := range value.List().Len() {
				canonical(c, value.List().Get(i).Message())
			}
		case field.Message() != nil:
			canonical(c, value.Message())
		}
		return true
	})
}

const definition = `{
	"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
	"metadata": {"name": "kites.go.example.com"},
	"spec": {
		"group": "go.example.com", "names": {"kind": "Kite", "plural": "kites"}, "scope": "Namespaced",
		"versions": [{
			"name": "v1", "served": true, "storage": true,
			"subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
			"schema": {"openAPIV3Schema": {"type": "object", "properties": {
				"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 1}}},
				"status": {"type": "object", "properties": {"size": {"type": "integer"}}}
			}}}
		}]
	}
}`

// TestCustomResourcesWithTheDynamicClient defines a kind and goes through its verbs, its scale included.
func TestCustomResourcesWithTheDynamicClient(t *testing.T) {
	c := start(t)
	definitions := c.dynamic.Resource(resource("apiextensions.k8s.io", "v1", "customresourcedefinitions"))
	obj := &unstructured.Unstructured{}
	c.must(json.Unmarshal([]byte(definition), &obj.Object))
	_, err := definitions.Create(c.ctx, obj, metav1.CreateOptions{})
	c.must(err)
	c.until("established", func() bool {
		found, err := definitions.Get(c.ctx, "kites.go.example.com", metav1.GetOptions{})
		c.must(err)
		conditions, _, _ := unstructured.NestedSlice(found.Object, "status", "conditions")
		for _, one := range conditions {
			if row := one.(map[string]any); row["type"] == "Established" && row["status"] == "True" {
				return true
			}
		}
		return false
	})
	kites := c.dynamic.Resource(resource("go.example.com", "v1", "kites")).Namespace(c.space)
	kite := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "go.example.com/v1", "kind": "Kite", "metadata": map[string]any{"name": "k"}, "spec": map[string]any{},
	}}
	made, err := kites.Create(c.ctx, kite, metav1.CreateOptions{FieldValidation: "Strict"})
	c.must(err)
	size, _, _ := unstructured.NestedInt64(made.Object, "spec", "size")
	equal(c, "the default", size, 1)
	events, err := kites.Watch(c.ctx, metav1.ListOptions{ResourceVersion: made.GetResourceVersion()})
	c.must(err)
	defer events.Stop()
	unstructured.RemoveNestedField(kite.Object, "metadata", "resourceVersion")
	c.must(unstructured.SetNestedField(kite.Object, int64(3), "spec", "size"))
	_, err = kites.Apply(c.ctx, "k", kite, metav1.ApplyOptions{FieldManager: "go", Force: true})
	c.must(err)
	c.expect(events, watch.Modified, "")
	made, err = kites.Get(c.ctx, "k", metav1.GetOptions{})
	c.must(err)
	c.must(unstructured.SetNestedField(made.Object, int64(2), "status", "size"))
	_, err = kites.UpdateStatus(c.ctx, made, metav1.UpdateOptions{})
	c.must(err)
	cached := memory.NewMemCacheClient(c.client.Discovery())
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	scales, err := scale.NewForConfig(c.config, mapper, dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(cached))
	c.must(err)
	found, err := scales.Scales(c.space).Get(c.ctx, schema.GroupResource{Group: "go.example.com", Resource: "kites"}, "k", metav1.GetOptions{})
	c.must(err)
	equal(c, "scale", [2]int32{found.Spec.Replicas, found.Status.Replicas}, [2]int32{3, 2})
	found.Spec.Replicas = 7
	_, err = scales.Scales(c.space).Update(c.ctx, schema.GroupResource{Group: "go.example.com", Resource: "kites"}, found, metav1.UpdateOptions{})
	c.must(err)
	bad := []byte(`{"spec":{"size":"many"}}`)
	_, err = kites.Patch(c.ctx, "k", types.MergePatchType, bad, metav1.PatchOptions{})
	c.refused(errors.IsInvalid, err, `spec.size: Invalid value: "string"`)
	bare, err := c.meta.Resource(resource("go.example.com", "v1", "kites")).Namespace(c.space).List(c.ctx, metav1.ListOptions{})
	c.must(err)
	equal(c, "bare kites", len(bare.Items), 1)
	c.must(kites.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	c.must(definitions.Delete(c.ctx, "kites.go.example.com", metav1.DeleteOptions{}))
}

// TestMetadataClient reads, patches, watches and deletes without the objects' rest, in protobuf.
func TestMetadataClient(t *testing.T) {
	c := start(t)
	made := c.configMap("a", map[string]string{"k": "v"})
	maps := c.meta.Resource(resource("", "v1", "configmaps")).Namespace(c.space)
	found, err := maps.Get(c.ctx, "a", metav1.GetOptions{})
	c.must(err)
	equal(c, "uid", found.UID, made.UID)
	events, err := maps.Watch(c.ctx, metav1.ListOptions{ResourceVersion: made.ResourceVersion})
	c.must(err)
	defer events.Stop()
	patch := []byte(`{"metadata":{"labels":{"patched":"yes"}}}`)
	found, err = maps.Patch(c.ctx, "a", types.MergePatchType, patch, metav1.PatchOptions{})
	c.must(err)
	equal(c, "label", found.Labels["patched"], "yes")
	c.expect(events, watch.Modified, "patched")
	list, err := maps.List(c.ctx, metav1.ListOptions{LabelSelector: "patched=yes"})
	c.must(err)
	equal(c, "listed", len(list.Items), 1)
	c.must(maps.Delete(c.ctx, "a", metav1.DeleteOptions{}))
	c.expect(events, watch.Deleted, "patched")
}

// TestTables are what kubectl asks for.
func TestTables(t *testing.T) {
	c := start(t)
	c.pod("p")
	table := &metav1.Table{}
	raw, err := c.client.CoreV1().RESTClient().Get().Namespace(c.space).Resource("pods").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json").Do(c.ctx).Raw()
	c.must(err)
	c.must(json.Unmarshal(raw, table))
	equal(c, "rows", len(table.Rows), 1)
	equal(c, "the first cell", table.Rows[0].Cells[0].(string), "p")
	equal(c, "the third column", table.ColumnDefinitions[2].Name, "Status")
	part := &metav1.PartialObjectMetadata{}
	c.must(json.Unmarshal(table.Rows[0].Object.Raw, part))
	equal(c, "the row's object", part.Name, "p")
}

// TestWhatNeedsANode says why it cannot be had for a pod without one.
func TestWhatNeedsANode(t *testing.T) {
	c := start(t)
	c.pod("p")
	pods := c.client.CoreV1().Pods(c.space)
	log, err := pods.GetLogs("p", &corev1.PodLogOptions{}).DoRaw(c.ctx)
	c.must(err)
	equal(c, "the log", string(log), "")
	_, err = pods.GetLogs("p", &corev1.PodLogOptions{Container: "nope"}).Stream(c.ctx)
	c.refused(errors.IsBadRequest, err, "container nope is not valid for pod p")
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
	c.must(pods.Bind(c.ctx, binding, metav1.CreateOptions{}))
	err = pods.Bind(c.ctx, binding, metav1.CreateOptions{})
	c.refused(errors.IsConflict, err, "pod p is already assigned to node")
}
