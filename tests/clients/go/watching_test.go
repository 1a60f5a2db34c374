package clients

import (
	"context"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/pager"
	watchtools "k8s.io/client-go/tools/watch"
)

// TestInformers fills caches of several kinds and follows them. It runs with and without the client's WatchList.
func TestInformers(t *testing.T) {
	c := start(t)
	c.configMap("before", nil)
	c.pod("early")
	factory := informers.NewSharedInformerFactoryWithOptions(c.client, 0, informers.WithNamespace(c.space))
	var lock sync.Mutex
	seen := map[string]int{}
	note := func(what string) {
		lock.Lock()
		defer lock.Unlock()
		seen[what]++
	}
	count := func(what string) int {
		lock.Lock()
		defer lock.Unlock()
		return seen[what]
	}
	maps := factory.Core().V1().ConfigMaps()
	_, err := maps.Informer().AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, initial bool) {
			if initial {
				note("initial " + obj.(*corev1.ConfigMap).Name)
			} else {
				note("added " + obj.(*corev1.ConfigMap).Name)
			}
		},
		UpdateFunc: func(_, obj any) { note("updated " + obj.(*corev1.ConfigMap).Name) },
		DeleteFunc: func(obj any) { note("deleted " + obj.(metav1.Object).GetName()) },
	})
	c.must(err)
	pods := factory.Core().V1().Pods().Lister()
	factory.Apps().V1().Deployments().Informer()
	factory.Discovery().V1().EndpointSlices().Informer()
	factory.StartWithContext(c.ctx)
	for kind, synced := range factory.WaitForCacheSync(c.ctx.Done()) {
		if !synced {
			c.Fatalf("%v was not synced", kind)
		}
	}
	c.until("initial object", func() bool { return count("initial before") == 1 })
	if _, err := pods.Pods(c.space).Get("early"); err != nil {
		c.Fatal(err)
	}
	made := c.configMap("after", nil)
	c.until("added", func() bool { return count("added after") == 1 })
	made.Data = map[string]string{"k": "v"}
	_, err = c.client.CoreV1().ConfigMaps(c.space).Update(c.ctx, made, metav1.UpdateOptions{})
	c.must(err)
	c.until("updated", func() bool { return count("updated after") == 1 })
	found, err := maps.Lister().ConfigMaps(c.space).List(labels.SelectorFromSet(labels.Set{"of": c.space}))
	c.must(err)
	equal(c, "listed from the cache", len(found), 2)
	c.must(c.client.CoreV1().ConfigMaps(c.space).Delete(c.ctx, "after", metav1.DeleteOptions{}))
	c.until("deleted", func() bool { return count("deleted after") == 1 })
	equal(c, "objects in the cache", len(maps.Informer().GetStore().ListKeys()), 1)
}

// TestDynamicAndMetadataInformers follows objects without types, and bare metadata.
func TestDynamicAndMetadataInformers(t *testing.T) {
	c := start(t)
	c.configMap("a", nil)
	maps := resource("", "v1", "configmaps")
	whole := dynamicinformer.NewFilteredDynamicSharedInformerFactory(c.dynamic, 0, c.space, nil)
	bare := metadatainformer.NewFilteredSharedInformerFactory(c.meta, 0, c.space, nil)
	for _, informer := range []cache.SharedIndexInformer{whole.ForResource(maps).Informer(), bare.ForResource(maps).Informer()} {
		go informer.RunWithContext(c.ctx)
		if !cache.WaitForCacheSync(c.ctx.Done(), informer.HasSynced) {
			c.Fatal("not synced")
		}
		equal(c, "objects at first", len(informer.GetStore().List()), 1)
	}
	c.configMap("b", map[string]string{"k": "v"})
	c.until("b without a type", func() bool { return len(whole.ForResource(maps).Informer().GetStore().List()) == 2 })
	c.until("b's metadata", func() bool { return len(bare.ForResource(maps).Informer().GetStore().List()) == 2 })
}

// TestWatchListByHand asks for initial events and their bookmark.
func TestWatchListByHand(t *testing.T) {
	c := start(t)
	c.configMap("a", nil)
	yes := true
	options := metav1.ListOptions{
		SendInitialEvents: &yes, AllowWatchBookmarks: true,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}
	events, err := c.client.CoreV1().ConfigMaps(c.space).Watch(c.ctx, options)
	c.must(err)
	defer events.Stop()
	c.expect(events, watch.Added, "")
	bookmark := <-events.ResultChan()
	equal(c, "the second event", bookmark.Type, watch.Bookmark)
	access, err := meta.Accessor(bookmark.Object)
	c.must(err)
	equal(c, "its annotation", access.GetAnnotations()[metav1.InitialEventsAnnotationKey], "true")
	c.configMap("b", nil)
	c.expect(events, watch.Added, "")
}

// TestWatchHelpers waits as controllers and kubectl do.
func TestWatchHelpers(t *testing.T) {
	c := start(t)
	pod := c.pod("p")
	retrying, err := watchtools.NewRetryWatcherWithContext(c.ctx, pod.ResourceVersion, &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return c.client.CoreV1().Pods(c.space).Watch(ctx, options)
		},
	})
	c.must(err)
	defer retrying.Stop()
	pod.Status.Phase = corev1.PodRunning
	_, err = c.client.CoreV1().Pods(c.space).UpdateStatus(c.ctx, pod, metav1.UpdateOptions{})
	c.must(err)
	c.expect(retrying, watch.Modified, "")
	selector := fields.OneTermEqualSelector("metadata.name", "p").String()
	listing := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = selector
			return c.client.CoreV1().Pods(c.space).List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = selector
			return c.client.CoreV1().Pods(c.space).Watch(ctx, options)
		},
	}
	last, err := watchtools.UntilWithSync(c.ctx, listing, &corev1.Pod{}, nil, func(event watch.Event) (bool, error) {
		return event.Object.(*corev1.Pod).Status.Phase == corev1.PodRunning, nil
	})
	c.must(err)
	equal(c, "the pod's phase", last.Object.(*corev1.Pod).Status.Phase, corev1.PodRunning)
}

// TestPagination lists in pieces; a continued list is of one moment.
func TestPagination(t *testing.T) {
	c := start(t)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		c.configMap(name, nil)
	}
	maps := c.client.CoreV1().ConfigMaps(c.space)
	first, err := maps.List(c.ctx, metav1.ListOptions{Limit: 2})
	c.must(err)
	equal(c, "remaining", *first.RemainingItemCount, 3)
	c.configMap("later", nil)
	second, err := maps.List(c.ctx, metav1.ListOptions{Limit: 10, Continue: first.Continue})
	c.must(err)
	equal(c, "the rest", len(second.Items), 3)
	equal(c, "its version", second.ResourceVersion, first.ResourceVersion)
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return maps.List(ctx, options)
	})
	pages.PageSize = 2
	names := 0
	c.must(pages.EachListItem(c.ctx, metav1.ListOptions{}, func(runtime.Object) error { names++; return nil }))
	equal(c, "all", names, 6)
}

// TestLeaderElection lets two candidates compete for a Lease; the second leads once the first has let go.
func TestLeaderElection(t *testing.T) {
	c := start(t)
	leading := make(chan string, 2)
	run := func(ctx context.Context, name string) {
		lock := &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: c.space, Name: "lock"},
			Client:     c.client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		}
		leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: lock, ReleaseOnCancel: true,
			LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 100 * time.Millisecond,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(context.Context) { leading <- name },
				OnStoppedLeading: func() {},
			},
		})
	}
	first, stop := context.WithCancel(c.ctx)
	go run(first, "one")
	equal(c, "first leader", <-leading, "one")
	go run(c.ctx, "two")
	stop()
	select {
	case name := <-leading:
		equal(c, "second leader", name, "two")
	case <-c.ctx.Done():
		c.Fatal("nobody leads")
	}
	lease, err := c.client.CoordinationV1().Leases(c.space).Get(c.ctx, "lock", metav1.GetOptions{})
	c.must(err)
	equal(c, "the holder", *lease.Spec.HolderIdentity, "two")
}
