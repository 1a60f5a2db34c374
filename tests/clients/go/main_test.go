// The tests of test_go.py: client-go, unmodified, against a running API server. KUBECONFIG names its configuration,
// HAWSER_SAMPLES a file with the least object of every kind, HAWSER_SUFFIX what the names of namespaces end with.
package clients

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const protobuf = runtime.ContentTypeProtobuf

// cluster is what a test needs: clients, a namespace of its own and a time by which it must have ended.
type cluster struct {
	*testing.T
	ctx     context.Context
	config  *rest.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
	meta    metadata.Interface
	space   string
}

// start makes clients that speak protobuf, and a namespace that is gone after the test.
func start(t *testing.T) *cluster {
	t.Parallel()
	return alone(t)
}

// alone is start for a test that others must not run beside: it sees what they define and delete.
func alone(t *testing.T) *cluster {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	t.Cleanup(cancel)
	config := configuration(t)
	config.ContentType = protobuf
	config.AcceptContentTypes = protobuf + ",application/json"
	c := &cluster{T: t, ctx: ctx, config: config, client: kubernetes.NewForConfigOrDie(config)}
	c.dynamic = dynamic.NewForConfigOrDie(configuration(t))
	c.meta = metadata.NewForConfigOrDie(config)
	name := "go-" + strings.ToLower(strings.TrimPrefix(t.Name(), "Test")) + os.Getenv("HAWSER_SUFFIX")
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	made, err := c.client.CoreV1().Namespaces().Create(ctx, space, metav1.CreateOptions{})
	c.must(err)
	c.space = made.Name
	t.Cleanup(func() {
		_ = c.client.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	return c
}

func configuration(t *testing.T) *rest.Config {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.Burst = -1, -1
	return config
}

// must ends the test when there is an error.
func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// refused ends the test unless the error is of a sort, and its text has these words.
func (c *cluster) refused(is func(error) bool, err error, words string) {
	c.Helper()
	if !is(err) || !strings.Contains(err.Error(), words) {
		c.Fatalf("wanted %q, got %v", words, err)
	}
}

// equal ends the test when a value is not the one that is wanted.
func equal[T comparable](c *cluster, what string, got, wanted T) {
	c.Helper()
	if got != wanted {
		c.Fatalf("%s: got %v, wanted %v", what, got, wanted)
	}
}

// until ends the test unless something becomes true in time.
func (c *cluster) until(what string, is func() bool) {
	c.Helper()
	for !is() {
		select {
		case <-c.ctx.Done():
			c.Fatal("never: " + what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (c *cluster) configMap(name string, data map[string]string) *corev1.ConfigMap {
	c.Helper()
	obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": c.space}}, Data: data}
	made, err := c.client.CoreV1().ConfigMaps(c.space).Create(c.ctx, obj, metav1.CreateOptions{})
	c.must(err)
	return made
}

func (c *cluster) pod(name string) *corev1.Pod {
	c.Helper()
	obj := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "busybox"}}},
	}
	made, err := c.client.CoreV1().Pods(c.space).Create(c.ctx, obj, metav1.CreateOptions{})
	c.must(err)
	return made
}

func resource(group, version, name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: name}
}
